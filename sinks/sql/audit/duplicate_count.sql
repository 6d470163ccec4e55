-- A rated batch was applied with another number of duplicates or conflicts than DuplicateEvent holds at its positions.
WITH starts AS (
    SELECT partition, epoch, array_agg(first_offset ORDER BY first_offset) AS first_offsets
    FROM "RatedBatch"
    WHERE %(since)s::timestamptz IS NULL OR created_at >= %(since)s
    GROUP BY partition, epoch
), held AS (
    SELECT entry.partition, entry.epoch,
        first_offsets[width_bucket(entry."offset", first_offsets)] AS first_offset,
        max(entry."offset") AS last_offset,
        count(*) FILTER (WHERE found_by = 'seen') AS duplicates,
        count(*) FILTER (WHERE found_by = 'conflict') AS conflicts
    FROM "DuplicateEvent" entry
    LEFT JOIN starts ON starts.partition = entry.partition AND starts.epoch = entry.epoch
    WHERE %(since)s::timestamptz IS NULL OR entry.created_at >= %(since)s
    GROUP BY 1, 2, 3
)
SELECT partition, epoch, first_offset, batch.next_offset,
    batch.duplicates AS batch_says_duplicates, coalesce(held.duplicates, 0) AS table_holds_duplicates,
    batch.conflicts AS batch_says_conflicts, coalesce(held.conflicts, 0) AS table_holds_conflicts,
    held.last_offset AS last_offset_held
FROM held
FULL JOIN (
    SELECT * FROM "RatedBatch"
    WHERE %(since)s::timestamptz IS NULL OR created_at >= %(since)s
) batch USING (partition, epoch, first_offset)
WHERE batch.duplicates IS DISTINCT FROM coalesce(held.duplicates, 0)
    OR batch.conflicts IS DISTINCT FROM coalesce(held.conflicts, 0)
    OR held.last_offset >= CASE batch.kind WHEN 'new-epoch' THEN 0 ELSE batch.next_offset END
ORDER BY 1, 2, 3

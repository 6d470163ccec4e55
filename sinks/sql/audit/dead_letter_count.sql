-- A rated batch was applied with another number of dead letters or refusals than DeadLetter holds at its positions.
WITH starts AS (
    SELECT partition, epoch, array_agg(first_offset ORDER BY first_offset) AS first_offsets
    FROM "RatedBatch"
    WHERE %(since)s::timestamptz IS NULL OR created_at >= %(since)s
    GROUP BY partition, epoch
), held AS (
    SELECT entry.partition, entry.epoch,
        first_offsets[width_bucket(entry."offset", first_offsets)] AS first_offset,
        max(entry."offset") AS last_offset,
        count(*) FILTER (WHERE found_by = 'streams') AS dead_letters,
        count(*) FILTER (WHERE found_by = 'sinks') AS refused
    FROM "DeadLetter" entry
    LEFT JOIN starts ON starts.partition = entry.partition AND starts.epoch = entry.epoch
    WHERE %(since)s::timestamptz IS NULL OR entry.created_at >= %(since)s
    GROUP BY 1, 2, 3
)
SELECT partition, epoch, first_offset, batch.next_offset,
    batch.dead_letters AS batch_says_dead_letters, coalesce(held.dead_letters, 0) AS table_holds_dead_letters,
    batch.refused AS batch_says_refused, coalesce(held.refused, 0) AS table_holds_refused,
    held.last_offset AS last_offset_held
FROM held
FULL JOIN (
    SELECT * FROM "RatedBatch"
    WHERE %(since)s::timestamptz IS NULL OR created_at >= %(since)s
) batch USING (partition, epoch, first_offset)
WHERE batch.dead_letters IS DISTINCT FROM coalesce(held.dead_letters, 0)
    OR batch.refused IS DISTINCT FROM coalesce(held.refused, 0)
    OR held.last_offset >= CASE batch.kind WHEN 'new-epoch' THEN 0 ELSE batch.next_offset END
ORDER BY 1, 2, 3

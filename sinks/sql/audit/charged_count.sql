-- A rated batch was applied with another number of charged events than UsageEvent holds at its positions.
WITH starts AS (
    SELECT partition, epoch, array_agg(first_offset ORDER BY first_offset) AS first_offsets
    FROM "RatedBatch"
    WHERE %(since)s::timestamptz IS NULL OR created_at >= %(since)s
    GROUP BY partition, epoch
), held AS (
    -- The batch of an entry is the last one that starts at or below its position.
    SELECT entry.source_partition AS partition, entry.source_epoch AS epoch,
        first_offsets[width_bucket(entry.source_offset, first_offsets)] AS first_offset,
        max(entry.source_offset) AS last_offset, count(*) AS charged
    FROM "UsageEvent" entry
    LEFT JOIN starts ON starts.partition = entry.source_partition AND starts.epoch = entry.source_epoch
    WHERE %(since)s::timestamptz IS NULL OR entry.created_at >= %(since)s
    GROUP BY 1, 2, 3
)
SELECT partition, epoch, first_offset, batch.next_offset, batch.charged AS batch_says,
    coalesce(held.charged, 0) AS table_holds, held.last_offset AS last_offset_held
FROM held
FULL JOIN (
    SELECT * FROM "RatedBatch"
    WHERE %(since)s::timestamptz IS NULL OR created_at >= %(since)s
) batch USING (partition, epoch, first_offset)
WHERE batch.charged IS DISTINCT FROM coalesce(held.charged, 0)
    -- Beyond the end of its batch.
    OR held.last_offset >= CASE batch.kind WHEN 'new-epoch' THEN 0 ELSE batch.next_offset END
ORDER BY 1, 2, 3

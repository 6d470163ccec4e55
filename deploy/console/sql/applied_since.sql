-- How far each partition is applied, and what came of its batches from a known position on.
SELECT reached.partition, reached.epoch, reached.next_offset, reached.rated_offset, reached.updated_at,
    batches.*
FROM "SinkOffset" AS reached
    LEFT JOIN unnest(%(partitions)s::integer[], %(epochs)s::integer[], %(offsets)s::bigint[])
        AS known (partition, epoch, next_offset) ON known.partition = reached.partition
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(charged), 0)::bigint AS charged,
            coalesce(sum(duplicates + conflicts), 0)::bigint AS duplicates,
            coalesce(sum(dead_letters + refused), 0)::bigint AS dead_letters,
            count(*) AS batches, min(first_offset) AS first_offset
        FROM "RatedBatch"
        WHERE topic = reached.topic AND partition = reached.partition AND epoch = known.epoch
            AND first_offset >= known.next_offset
    ) AS batches
WHERE reached.topic = %(topic)s
ORDER BY reached.partition

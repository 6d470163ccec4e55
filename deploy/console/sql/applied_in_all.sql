-- How far each partition is applied, and what came of all its batches.
SELECT reached.partition, reached.epoch, reached.next_offset, reached.rated_offset, reached.updated_at,
    batches.*
FROM "SinkOffset" AS reached
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(charged), 0)::bigint AS charged,
            coalesce(sum(duplicates + conflicts), 0)::bigint AS duplicates,
            coalesce(sum(dead_letters + refused), 0)::bigint AS dead_letters,
            count(*) AS batches, min(first_offset) AS first_offset
        FROM "RatedBatch"
        WHERE topic = reached.topic AND partition = reached.partition
    ) AS batches
WHERE reached.topic = %(topic)s
ORDER BY reached.partition

-- The rated batches applied last, of all partitions.
SELECT newest.*
FROM "SinkOffset" AS reached
    CROSS JOIN LATERAL (
        SELECT partition, epoch, first_offset, next_offset, rated_offset, kind, charged, duplicates, conflicts,
            dead_letters, refused, price_revision, reason, decided_by, created_at
        FROM "RatedBatch"
        WHERE topic = reached.topic AND partition = reached.partition AND epoch = reached.epoch
        ORDER BY first_offset DESC
        LIMIT %(limit)s
    ) AS newest
WHERE reached.topic = %(topic)s
ORDER BY newest.created_at DESC, newest.partition, newest.first_offset DESC
LIMIT %(limit)s

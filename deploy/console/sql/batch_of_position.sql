-- The applied rated batch that covers an offset, and where in usage.rated the one before it stands.
SELECT batch.*, before.rated_offset AS rated_offset_before
FROM (
        SELECT *
        FROM "RatedBatch"
        WHERE topic = %(topic)s AND partition = %(partition)s AND epoch = %(epoch)s
            AND first_offset <= %(offset)s
        ORDER BY first_offset DESC
        LIMIT 1
    ) AS batch
    LEFT JOIN LATERAL (
        SELECT rated_offset
        FROM "RatedBatch"
        WHERE topic = batch.topic AND partition = batch.partition AND epoch = batch.epoch
            AND first_offset < batch.first_offset
        ORDER BY first_offset DESC
        LIMIT 1
    ) AS before ON true
WHERE batch.next_offset > %(offset)s

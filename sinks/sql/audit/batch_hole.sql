-- A rated batch starts beyond the end of the one before it: what stands between was never applied.
SELECT topic, partition, epoch, expected AS hole_from, first_offset AS hole_to
FROM (
    SELECT batch.*, coalesce(
        lag(batch.next_offset) OVER (
            PARTITION BY batch.topic, batch.partition, batch.epoch ORDER BY batch.first_offset
        ),
        decision.next_offset,
        0
    ) AS expected
    FROM "RatedBatch" batch
    -- The decision that ended the epoch before says where this one starts.
    LEFT JOIN "RatedBatch" decision
        ON decision.topic = batch.topic AND decision.partition = batch.partition
        AND decision.epoch = batch.epoch - 1 AND decision.kind = 'new-epoch'
) batch
WHERE first_offset > expected
    AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
ORDER BY topic, partition, epoch, first_offset

-- A rated batch starts below the end of the one before it: positions were applied twice.
SELECT topic, partition, epoch, first_offset AS overlap_from, reached AS overlap_to
FROM (
    SELECT batch.*, coalesce(
        lag(batch.next_offset) OVER (
            PARTITION BY batch.topic, batch.partition, batch.epoch ORDER BY batch.first_offset
        ),
        decision.next_offset,
        0
    ) AS reached
    FROM "RatedBatch" batch
    LEFT JOIN "RatedBatch" decision
        ON decision.topic = batch.topic AND decision.partition = batch.partition
        AND decision.epoch = batch.epoch - 1 AND decision.kind = 'new-epoch'
) batch
WHERE first_offset < reached
    AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
ORDER BY topic, partition, epoch, first_offset

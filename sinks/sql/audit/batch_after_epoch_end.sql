-- An epoch goes on after the decision that ended it, or began without one.
SELECT batch.topic, batch.partition, batch.epoch, batch.first_offset, batch.kind
FROM "RatedBatch" batch
LEFT JOIN "RatedBatch" ending
    ON ending.topic = batch.topic AND ending.partition = batch.partition
    AND ending.epoch = batch.epoch AND ending.kind = 'new-epoch'
LEFT JOIN "RatedBatch" beginning
    ON beginning.topic = batch.topic AND beginning.partition = batch.partition
    AND beginning.epoch = batch.epoch - 1 AND beginning.kind = 'new-epoch'
WHERE (batch.first_offset > ending.first_offset OR (batch.epoch > 0 AND beginning.topic IS NULL))
    AND (%(since)s::timestamptz IS NULL OR batch.created_at >= %(since)s)
ORDER BY 1, 2, 3, 4

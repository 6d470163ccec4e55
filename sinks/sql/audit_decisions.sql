-- What persons decided about the log, for ever.
SELECT kind, topic, partition, epoch, first_offset, next_offset, reason, decided_by, created_at
FROM "RatedBatch"
WHERE kind <> 'rated'
ORDER BY created_at, topic, partition

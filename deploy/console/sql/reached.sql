-- How far each partition is applied.
SELECT partition, epoch, next_offset, rated_offset, max_broker_time, updated_at
FROM "SinkOffset"
WHERE topic = %(topic)s
ORDER BY partition

-- The rows of the partitions, in one order for everybody; those that another transaction holds are left out.
SELECT partition, epoch, next_offset, rated_offset, max_broker_time
FROM "SinkOffset"
WHERE topic = %(topic)s AND partition = ANY (%(partitions)s::integer[])
ORDER BY topic, partition
FOR UPDATE SKIP LOCKED

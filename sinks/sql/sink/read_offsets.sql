SELECT partition, epoch, next_offset, rated_offset, max_broker_time
FROM "SinkOffset"
WHERE topic = %(topic)s AND partition = ANY (%(partitions)s::integer[])

UPDATE "SinkOffset" AS held
SET epoch = reached.epoch,
    next_offset = reached.next_offset,
    rated_offset = reached.rated_offset,
    max_broker_time = reached.max_broker_time,
    updated_at = clock_timestamp()
FROM unnest(
    %(partitions)s::integer[],
    %(epochs)s::integer[],
    %(next_offsets)s::bigint[],
    %(rated_offsets)s::bigint[],
    %(max_broker_times)s::bigint[]
) AS reached (partition, epoch, next_offset, rated_offset, max_broker_time)
WHERE held.topic = %(topic)s AND held.partition = reached.partition

-- Positions of the raw topic's partitions, the offset at which the present epoch starts, accepted holes.
-- Where nothing was applied there may be no partition yet: `burnstream scale` makes positions first.
SELECT sink.partition, sink.epoch, sink.next_offset, coalesce(decision.next_offset, 0) AS epoch_start,
    coalesce((
        SELECT array_agg(ARRAY[hole.first_offset, hole.next_offset] ORDER BY hole.first_offset)
        FROM "RatedBatch" hole
        WHERE hole.topic = sink.topic AND hole.partition = sink.partition
            AND hole.epoch = sink.epoch AND hole.kind = 'hole'
    ), '{}') AS holes
FROM "SinkOffset" sink
LEFT JOIN "RatedBatch" decision
    ON decision.topic = sink.topic AND decision.partition = sink.partition
    AND decision.epoch = sink.epoch - 1 AND decision.kind = 'new-epoch'
WHERE sink.topic = %(topic)s AND sink.next_offset > 0
ORDER BY sink.partition

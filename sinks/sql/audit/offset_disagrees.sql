-- SinkOffset does not stand where the partition's last rated batch ends.
SELECT topic, partition, reached.epoch AS batches_epoch, reached.next_offset AS batches_next_offset,
    sink.epoch AS sink_epoch, sink.next_offset AS sink_next_offset
FROM (
    SELECT DISTINCT ON (topic, partition) topic, partition,
        CASE kind WHEN 'new-epoch' THEN epoch + 1 ELSE epoch END AS epoch, next_offset
    FROM "RatedBatch"
    ORDER BY topic, partition, "RatedBatch".epoch DESC, first_offset DESC
) reached
FULL JOIN "SinkOffset" sink USING (topic, partition)
WHERE (coalesce(reached.epoch, 0), coalesce(reached.next_offset, 0))
    IS DISTINCT FROM (sink.epoch, sink.next_offset)
ORDER BY topic, partition

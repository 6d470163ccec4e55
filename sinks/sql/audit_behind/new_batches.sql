-- Per partition: where the batches beyond the proof lead, what they count, and where one does not follow.
SELECT proof.partition, sink.epoch AS sink_epoch, sink.next_offset AS sink_next_offset,
    coalesce(beyond.epoch, proof.epoch) AS epoch,
    coalesce(beyond.next_offset, proof.next_offset) AS next_offset,
    beyond.batches, beyond.since, beyond.charged, beyond.duplicates, beyond.conflicts,
    beyond.dead_letters, beyond.refused, beyond.holes, beyond.overlaps, beyond.strays,
    ((coalesce(beyond.epoch, proof.epoch), coalesce(beyond.next_offset, proof.next_offset))
        IS DISTINCT FROM (sink.epoch, sink.next_offset))::integer AS disagrees
FROM "AuditProof" proof
LEFT JOIN "SinkOffset" sink USING (topic, partition)
CROSS JOIN LATERAL (
    SELECT count(*) AS batches, min(created_at) AS since,
        sum(charged)::bigint AS charged, sum(duplicates)::bigint AS duplicates,
        sum(conflicts)::bigint AS conflicts, sum(dead_letters)::bigint AS dead_letters,
        sum(refused)::bigint AS refused,
        count(*) FILTER (WHERE epoch = expected_epoch AND first_offset > expected) AS holes,
        count(*) FILTER (WHERE epoch = expected_epoch AND first_offset < expected) AS overlaps,
        count(*) FILTER (WHERE epoch <> expected_epoch) AS strays,
        (array_agg(following_epoch ORDER BY epoch DESC, first_offset DESC))[1] AS epoch,
        (array_agg(next_offset ORDER BY epoch DESC, first_offset DESC))[1] AS next_offset
    FROM (
        SELECT batch.*, following_epoch,
            coalesce(lag(batch.next_offset) OVER place, proof.next_offset) AS expected,
            coalesce(lag(following_epoch) OVER place, proof.epoch) AS expected_epoch
        FROM "RatedBatch" batch
        -- The decision that ends an epoch says where the next one starts.
        CROSS JOIN LATERAL (
            SELECT CASE batch.kind WHEN 'new-epoch' THEN batch.epoch + 1 ELSE batch.epoch END
        ) following (following_epoch)
        WHERE batch.topic = proof.topic AND batch.partition = proof.partition
            AND (batch.epoch, batch.first_offset) >= (proof.epoch, proof.next_offset)
        WINDOW place AS (ORDER BY batch.epoch, batch.first_offset)
    ) batch
) beyond
WHERE proof.topic = %(topic)s
ORDER BY proof.partition

-- A dead letter is REPLAYED and its replay was applied, but its event is not charged, nor has the replay become a letter again: it is lost until it is replayed once more, by its id.
WITH replayed AS MATERIALIZED (
    SELECT letter.*
    FROM "DeadLetter" letter
    WHERE letter.status = 'REPLAYED'
        -- A record that could not be read as a whole has no identity to ask for.
        AND letter.customer_id IS NOT NULL AND letter.event_id IS NOT NULL
        AND (%(since)s::timestamptz IS NULL OR letter.resolved_at >= %(since)s)
        -- The sinks close a letter in the transaction that charges its event.
        AND (letter.resolved_by = 'sinks' OR EXISTS (
            SELECT FROM "SinkOffset" sink
            WHERE sink.partition = split_part(letter.replayed_as, ':', 1)::integer
                AND sink.next_offset > split_part(letter.replayed_as, ':', 2)::bigint
        ))
)
SELECT id, customer_id, event_id, replayed_as, resolved_by
FROM replayed
WHERE NOT EXISTS (
        SELECT FROM "UsageEvent" event
        WHERE event.customer_id = replayed.customer_id AND event.id::text = lower(replayed.event_id)
    )
    AND NOT EXISTS (
        SELECT FROM "UsageEvent" event
        WHERE event.customer_id = replayed.customer_id
            AND event.idempotency_key = replayed.idempotency_key
    )
    AND NOT EXISTS (
        SELECT FROM "DeadLetter" again
        WHERE again.replay_of = concat_ws(
            ':', replayed.partition, replayed.epoch, replayed."offset", replayed.index
        )
    )
ORDER BY id

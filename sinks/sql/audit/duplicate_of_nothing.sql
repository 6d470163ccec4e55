-- An event was called a duplicate, but by neither identity is there a charged event, nor a dead letter that is open, discarded by a person or on its way again: it is lost.
WITH uncharged AS MATERIALIZED (
    SELECT duplicate.*
    FROM "DuplicateEvent" duplicate
    WHERE (%(since)s::timestamptz IS NULL OR duplicate.created_at >= %(since)s)
        AND NOT EXISTS (
            SELECT FROM "UsageEvent" event
            WHERE event.customer_id = duplicate.customer_id AND event.id = duplicate.event_id
        )
        AND NOT EXISTS (
            SELECT FROM "UsageEvent" event
            WHERE event.customer_id = duplicate.customer_id
                AND event.idempotency_key = duplicate.idempotency_key
        )
), waiting AS MATERIALIZED (
    SELECT letter.customer_id, lower(letter.event_id) AS event_id, letter.idempotency_key
    FROM "DeadLetter" letter
    LEFT JOIN "SinkOffset" sink
        ON sink.partition = split_part(letter.replayed_as, ':', 1)::integer
        AND sink.next_offset > split_part(letter.replayed_as, ':', 2)::bigint
    -- A replayed letter counts until its replay is applied.
    WHERE letter.customer_id IS NOT NULL AND (letter.status <> 'REPLAYED' OR sink.topic IS NULL)
)
SELECT partition, epoch, "offset", index, customer_id, event_id, idempotency_key, found_by
FROM uncharged
WHERE NOT EXISTS (
        SELECT FROM waiting
        WHERE waiting.customer_id = uncharged.customer_id
            AND waiting.event_id = uncharged.event_id::text
    )
    AND NOT EXISTS (
        SELECT FROM waiting
        WHERE waiting.customer_id = uncharged.customer_id
            AND waiting.idempotency_key = uncharged.idempotency_key
    )
ORDER BY 1, 2, 3, 4

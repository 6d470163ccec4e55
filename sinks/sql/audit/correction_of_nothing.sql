-- A correction names no event of its customer, or not the burn that it corrects, or its key is not its job's and event's.
SELECT correction.id AS transaction_id, correction.customer_id, correction.usage_event_id,
    correction.idempotency_key, correction.metadata->>'corrects' AS corrects
FROM "CreditTransaction" correction
LEFT JOIN "UsageEvent" event
    ON event.customer_id = correction.customer_id AND event.id = correction.usage_event_id
LEFT JOIN "CreditTransaction" burn ON burn.id = correction.metadata->>'corrects'
-- Whatever names an event and has a key, but for the refunds of voids. What has none is the sinks' burn.
WHERE correction.idempotency_key IS NOT NULL AND correction.idempotency_key NOT LIKE 'void:%%'
    AND correction.usage_event_id IS NOT NULL
    AND (%(since)s::timestamptz IS NULL OR correction.created_at >= %(since)s)
    AND (
        event.id IS NULL
        OR correction.idempotency_key
            IS DISTINCT FROM 'reprice:' || (correction.metadata->>'job') || ':' || correction.usage_event_id
        OR (correction.metadata->>'corrects' IS NULL) <> (event.credits_burned = 0)
        OR correction.metadata->>'corrects' IS NOT NULL AND (
            burn.id IS NULL OR burn.transaction_type <> 'BURN' OR burn.idempotency_key IS NOT NULL
            OR (burn.customer_id, burn.usage_event_id, burn.wallet_id)
                <> (correction.customer_id, correction.usage_event_id, correction.wallet_id)
        )
    )
ORDER BY 1

-- A charged event costs credits, but no BURN debits them: the customer was not charged.
SELECT event.customer_id, event.id AS usage_event_id, event.credits_burned
FROM "UsageEvent" event
LEFT JOIN "CreditTransaction" burn
    ON burn.customer_id = event.customer_id AND burn.usage_event_id = event.id
    AND burn.transaction_type = 'BURN' AND burn.idempotency_key IS NULL
    -- A burn is written after its event, in the same transaction.
    AND (%(since)s::timestamptz IS NULL OR burn.created_at >= %(since)s)
WHERE event.credits_burned > 0 AND burn.id IS NULL
    AND (%(since)s::timestamptz IS NULL OR event.created_at >= %(since)s)
ORDER BY 1, 2

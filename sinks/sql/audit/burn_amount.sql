-- A BURN debits another amount than its event's credits (a free event has none).
SELECT burn.id AS transaction_id, burn.customer_id, burn.usage_event_id, burn.amount, event.credits_burned
FROM "CreditTransaction" burn
JOIN "UsageEvent" event ON event.customer_id = burn.customer_id AND event.id = burn.usage_event_id
WHERE burn.transaction_type = 'BURN' AND burn.idempotency_key IS NULL AND burn.amount <> -event.credits_burned
    AND (%(since)s::timestamptz IS NULL OR burn.created_at >= %(since)s)
ORDER BY 1

-- A transaction names a usage event that this customer does not have.
SELECT entry.id AS transaction_id, entry.customer_id, entry.usage_event_id, entry.transaction_type
FROM "CreditTransaction" entry
LEFT JOIN "UsageEvent" event
    ON event.customer_id = entry.customer_id AND event.id = entry.usage_event_id
WHERE entry.usage_event_id IS NOT NULL AND event.id IS NULL
    AND (%(since)s::timestamptz IS NULL OR entry.created_at >= %(since)s)
ORDER BY 1

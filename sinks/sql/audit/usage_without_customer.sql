-- A charged event belongs to a customer that does not exist.
SELECT event.customer_id, event.id AS usage_event_id
FROM "UsageEvent" event
LEFT JOIN "Customer" customer ON customer.id = event.customer_id
WHERE customer.id IS NULL
    AND (%(since)s::timestamptz IS NULL OR event.created_at >= %(since)s)
ORDER BY 1, 2

-- The event that was charged under an idempotency key.
SELECT id::text AS event_id
FROM "UsageEvent"
WHERE customer_id = %(customer)s AND idempotency_key = %(key)s

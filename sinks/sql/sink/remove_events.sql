DELETE FROM "UsageEvent" AS event
USING unnest(%(customers)s::text[], %(ids)s::uuid[]) AS refused (customer_id, id)
WHERE event.customer_id = refused.customer_id AND event.id = refused.id

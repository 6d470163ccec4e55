-- An event is voided once: another transaction that voids it is waited for, and has its way.
INSERT INTO "VoidedEvent" (customer_id, event_id, voided_by, is_replaced, reason, requested_by)
SELECT * FROM unnest(
    %(customers)s::text[], %(ids)s::uuid[], %(voided_by)s::uuid[], %(are_replaced)s::boolean[], %(reasons)s::text[],
    %(requested_by)s::text[]
) AS asked (customer_id, event_id, voided_by, is_replaced, reason, requested_by)
ORDER BY customer_id, event_id
ON CONFLICT DO NOTHING
RETURNING voided_by

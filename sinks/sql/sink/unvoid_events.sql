-- What this transaction marked for events that it takes back.
DELETE FROM "VoidedEvent"
WHERE (customer_id, voided_by) IN (SELECT * FROM unnest(%(customers)s::text[], %(voided_by)s::uuid[]))

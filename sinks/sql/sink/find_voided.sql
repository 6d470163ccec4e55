-- Which corrections, by the events that they brought, have voided what they name.
SELECT voided_by FROM "VoidedEvent"
WHERE (customer_id, event_id) IN (SELECT * FROM unnest(%(customers)s::text[], %(ids)s::uuid[]))

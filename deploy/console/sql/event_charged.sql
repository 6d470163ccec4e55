-- An event in the ledger, whoever's it is: a probe of the primary key per customer, never a scan of the events
-- (OFFSET 0 keeps the planner from turning it into one).
SELECT event.*, event.id::text AS event_id
FROM "Customer" AS customer
    CROSS JOIN LATERAL (
        SELECT *
        FROM "UsageEvent"
        WHERE customer_id = customer.id AND id = %(event)s::uuid
        OFFSET 0
    ) AS event
WHERE %(customer)s::text IS NULL OR customer.id = %(customer)s
LIMIT %(limit)s

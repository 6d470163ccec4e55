-- An event in the ledger, whoever's it is: a probe of the primary key per customer, no scan of the events.
SELECT event.*, event.id::text AS event_id
FROM "Customer" AS customer
    JOIN "UsageEvent" AS event ON event.customer_id = customer.id AND event.id = %(event)s::uuid
WHERE %(customer)s::text IS NULL OR customer.id = %(customer)s
LIMIT %(limit)s

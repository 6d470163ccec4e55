-- Where an event came again.
SELECT duplicate.*, duplicate.event_id::text AS event_id
FROM "Customer" AS customer
    JOIN "DuplicateEvent" AS duplicate
        ON duplicate.customer_id = customer.id AND duplicate.event_id = %(event)s::uuid
WHERE %(customer)s::text IS NULL OR customer.id = %(customer)s
ORDER BY duplicate.created_at, duplicate.partition, duplicate."offset", duplicate.index
LIMIT %(limit)s

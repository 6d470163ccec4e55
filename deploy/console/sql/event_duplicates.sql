-- Where an event came again; looked up as in event_charged.sql.
SELECT duplicate.*, duplicate.event_id::text AS event_id
FROM "Customer" AS customer
    CROSS JOIN LATERAL (
        SELECT *
        FROM "DuplicateEvent"
        WHERE customer_id = customer.id AND event_id = %(event)s::uuid
        OFFSET 0
    ) AS duplicate
WHERE %(customer)s::text IS NULL OR customer.id = %(customer)s
ORDER BY duplicate.created_at, duplicate.partition, duplicate."offset", duplicate.index
LIMIT %(limit)s

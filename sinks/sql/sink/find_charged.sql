-- Which of the events asked for (numbered from 1) are charged already, by id or by key, and where they stood.
SELECT asked.number, charged.source_partition, charged.source_offset, charged.source_index
FROM unnest(%(customers)s::text[], %(ids)s::uuid[], %(keys)s::text[])
    WITH ORDINALITY AS asked (customer_id, id, idempotency_key, number)
CROSS JOIN LATERAL (
    SELECT source_partition, source_offset, source_index
    FROM "UsageEvent"
    WHERE customer_id = asked.customer_id AND id = asked.id
    UNION ALL
    SELECT source_partition, source_offset, source_index
    FROM "UsageEvent"
    WHERE customer_id = asked.customer_id AND idempotency_key = asked.idempotency_key
    LIMIT 1
) AS charged

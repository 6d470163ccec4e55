-- As sinks/sql/sink/find_charged.sql, over the live ledger, less what stands in the span or behind it: of that the
-- job finds out by itself.
SELECT asked.number, charged.source_partition, charged.source_offset, charged.source_index
FROM unnest(%(customers)s::text[], %(ids)s::uuid[], %(keys)s::text[])
    WITH ORDINALITY AS asked (customer_id, id, idempotency_key, number)
CROSS JOIN LATERAL (
    SELECT source_partition, source_epoch, source_offset, source_index
    FROM {live}."UsageEvent"
    WHERE customer_id = asked.customer_id AND id = asked.id
    UNION ALL
    SELECT source_partition, source_epoch, source_offset, source_index
    FROM {live}."UsageEvent"
    WHERE customer_id = asked.customer_id AND idempotency_key = asked.idempotency_key
) AS charged
WHERE NOT EXISTS (
    SELECT FROM unnest(%(partitions)s::integer[], %(epochs)s::integer[], %(firsts)s::bigint[])
        AS span (partition, epoch, first)
    WHERE charged.source_partition = span.partition
        AND (charged.source_epoch, charged.source_offset) >= (span.epoch, span.first)
)

-- As sinks/sql/sink/find_originals.sql, over the live ledger, of what was charged before the span. Its burn is not
-- in the job's ledger, and so nothing is given back there.
SELECT asked.number, event.created_at, event.credits_burned
FROM unnest(%(customers)s::text[], %(ids)s::uuid[]) WITH ORDINALITY AS asked (customer_id, event_id, number)
JOIN {live}."UsageEvent" AS event ON event.customer_id = asked.customer_id AND event.id = asked.event_id
WHERE NOT EXISTS (
    SELECT FROM unnest(%(partitions)s::integer[], %(epochs)s::integer[], %(firsts)s::bigint[])
        AS span (partition, epoch, first)
    WHERE event.source_partition = span.partition
        AND (event.source_epoch, event.source_offset) >= (span.epoch, span.first)
)

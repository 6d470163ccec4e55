-- Charged by the job, under no identity that the live ledger has.
SELECT usage.customer_id, usage.id::text AS event_id, usage.source_partition AS partition,
    usage.source_epoch AS epoch, usage.source_offset AS "offset", usage.source_index AS index,
    usage.credits_burned AS credits
FROM {shadow}."UsageEvent" AS usage
WHERE NOT EXISTS (
    SELECT FROM {live}."UsageEvent" AS charged
    WHERE charged.customer_id = usage.customer_id AND charged.id = usage.id
) AND NOT EXISTS (
    SELECT FROM {live}."UsageEvent" AS charged
    WHERE charged.customer_id = usage.customer_id
        AND charged.idempotency_key = usage.idempotency_key
)
ORDER BY usage.source_partition, usage.source_offset, usage.source_index

-- What became of each event of the temporary table `asked` (customer_id text, id uuid).
-- An event that is not charged is looked for further: its letters, an open one first, and whose
-- duplicate it was called. A duplicate that is not charged itself shares its key with an event that is.
CREATE TEMPORARY VIEW fate AS
SELECT asked.customer_id, asked.id, usage.id IS NOT NULL AS is_charged,
    usage.credits_burned AS charged_credits, usage.cost_usd AS charged_cost_usd,
    letter.reason, letter.status, duplicate.position IS NOT NULL AS is_duplicate,
    duplicate.original_id, duplicate.position
FROM asked
LEFT JOIN "UsageEvent" AS usage ON usage.customer_id = asked.customer_id AND usage.id = asked.id
LEFT JOIN LATERAL (
    SELECT reason, status FROM "DeadLetter"
    WHERE usage.id IS NULL AND event_id = asked.id::text AND customer_id = asked.customer_id
    ORDER BY status <> 'OPEN', created_at, "offset", index -- the first one names the cause
    LIMIT 1
) AS letter ON true
LEFT JOIN LATERAL (
    SELECT original.id AS original_id, concat_ws(':',
        coalesce(original.source_partition, called.of_partition),
        coalesce(original.source_offset, called.of_offset),
        coalesce(original.source_index, called.of_index)) AS position
    FROM "DuplicateEvent" AS called
    LEFT JOIN "UsageEvent" AS original
        ON original.customer_id = called.customer_id AND original.idempotency_key = called.idempotency_key
    WHERE usage.id IS NULL AND called.customer_id = asked.customer_id AND called.event_id = asked.id
    ORDER BY original.id IS NULL
    LIMIT 1
) AS duplicate ON true

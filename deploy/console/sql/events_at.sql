-- What became of the events of records: charged, duplicates, letters, in their order.
WITH bounds AS (
    SELECT min(applied.created_at) - interval '1 second' AS since,
        max(applied.created_at) + interval '1 second' AS until
    FROM unnest(%(offsets)s::bigint[]) AS wanted (place)
        CROSS JOIN LATERAL (
            SELECT created_at
            FROM "RatedBatch"
            WHERE topic = %(topic)s AND partition = %(partition)s AND epoch = %(epoch)s
                AND first_offset <= wanted.place
            ORDER BY first_offset DESC
            LIMIT 1
        ) AS applied
)
SELECT source_offset AS "offset", source_index AS index, 'charged' AS outcome, customer_id,
    event.id::text AS event_id, credits_burned AS credits, cost_usd, NULL AS letter_id, NULL AS reason
FROM "UsageEvent" AS event, bounds
WHERE source_partition = %(partition)s AND source_epoch = %(epoch)s
    AND source_offset = ANY (%(offsets)s::bigint[])
    AND event.created_at BETWEEN bounds.since AND bounds.until
UNION ALL
SELECT "offset", index, 'duplicate', customer_id, event_id::text, NULL, NULL, NULL, found_by
FROM "DuplicateEvent"
WHERE partition = %(partition)s AND epoch = %(epoch)s AND "offset" = ANY (%(offsets)s::bigint[])
UNION ALL
SELECT "offset", index, 'dead-letter', customer_id, event_id, NULL, NULL, id, reason
FROM "DeadLetter"
WHERE partition = %(partition)s AND epoch = %(epoch)s AND "offset" = ANY (%(offsets)s::bigint[])
ORDER BY 1, 2
LIMIT %(limit)s

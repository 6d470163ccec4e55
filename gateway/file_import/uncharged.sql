-- What became of imported events that are not charged.
-- A letter that waits goes before a duplicate, as the gateway's answer has it.
SELECT coalesce(letter.reason, CASE WHEN duplicate.is_one THEN 'duplicate' END, 'unsettled')
    AS outcome, count(*) AS events
FROM imported
LEFT JOIN LATERAL (
    SELECT reason FROM "DeadLetter"
    WHERE event_id = imported.id::text AND customer_id = imported.customer_id AND status = 'OPEN'
    ORDER BY created_at, "offset", index -- the first one names the cause
    LIMIT 1
) AS letter ON true
LEFT JOIN LATERAL (
    SELECT true AS is_one FROM "DuplicateEvent"
    WHERE customer_id = imported.customer_id AND event_id = imported.id
    LIMIT 1
) AS duplicate ON true
WHERE NOT EXISTS (
    SELECT FROM "UsageEvent"
    WHERE customer_id = imported.customer_id AND id = imported.id
)
GROUP BY 1

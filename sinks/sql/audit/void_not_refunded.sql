-- A voided event still costs something, or was given back more than it cost.
SELECT voided.customer_id, voided.event_id AS usage_event_id, sum(entry.amount) AS credits
FROM "VoidedEvent" voided
JOIN "CreditTransaction" entry
    ON entry.customer_id = voided.customer_id AND entry.usage_event_id = voided.event_id
WHERE %(since)s::timestamptz IS NULL OR voided.created_at >= %(since)s
GROUP BY voided.customer_id, voided.event_id
HAVING sum(entry.amount) <> 0
ORDER BY 1, 2

-- With a correction, an event's transactions do not come to what its job says that the event costs.
SELECT correction.id AS transaction_id, correction.customer_id, correction.usage_event_id,
    (correction.metadata->>'credits')::bigint AS job_says, -sum(entry.amount) AS transactions_say
FROM "CreditTransaction" correction
JOIN "CreditTransaction" entry
    ON entry.customer_id = correction.customer_id AND entry.usage_event_id = correction.usage_event_id
    AND entry.wallet_id = correction.wallet_id AND entry.wallet_seq <= correction.wallet_seq
WHERE correction.idempotency_key LIKE 'reprice:%%' AND correction.usage_event_id IS NOT NULL
    AND (%(since)s::timestamptz IS NULL OR correction.created_at >= %(since)s)
GROUP BY correction.id, correction.customer_id, correction.usage_event_id, correction.metadata
HAVING (correction.metadata->>'credits')::bigint IS DISTINCT FROM -sum(entry.amount)
ORDER BY 1

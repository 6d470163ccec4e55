-- One charged event has more than one BURN: the customer was charged more than once.
SELECT customer_id, usage_event_id, count(*) AS burns, sum(amount) AS amount,
    min(id) AS first_transaction, max(id) AS last_transaction
FROM "CreditTransaction"
WHERE transaction_type = 'BURN' AND idempotency_key IS NULL -- else a correction
    AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
GROUP BY customer_id, usage_event_id
HAVING count(*) > 1
ORDER BY 1, 2

-- What was done to wallets for an event: its burn, by the blocks of its time, and what corrected it since.
SELECT id, wallet_id, amount
FROM (
    SELECT id, wallet_id, amount, wallet_seq
    FROM "CreditTransaction"
    WHERE customer_id = %(customer)s AND usage_event_id = %(event)s::uuid AND idempotency_key IS NULL
        AND created_at >= %(since)s AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
    UNION ALL
    SELECT id, wallet_id, amount, wallet_seq
    FROM "CreditTransaction"
    WHERE customer_id = %(customer)s AND usage_event_id = %(event)s::uuid AND idempotency_key IS NOT NULL
) AS entry
ORDER BY wallet_id, wallet_seq

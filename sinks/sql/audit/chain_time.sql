-- A transaction is not younger than the one before it in the wallet: ordered by created_at, the chain looks broken.
SELECT entry.wallet_id, entry.wallet_seq, entry.id AS transaction_id,
    previous.created_at AS previous_created_at, entry.created_at
FROM "CreditTransaction" entry
JOIN "CreditTransaction" previous
    ON previous.wallet_id = entry.wallet_id AND previous.wallet_seq = entry.wallet_seq - 1
WHERE entry.created_at <= previous.created_at
    AND (%(since)s::timestamptz IS NULL OR entry.created_at >= %(since)s)
ORDER BY 1, 2

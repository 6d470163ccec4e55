-- A wallet's chain misses a transaction: wallet_seq is not 1, 2, 3 ...
SELECT entry.wallet_id, entry.wallet_seq, entry.id AS transaction_id
FROM "CreditTransaction" entry
LEFT JOIN "CreditTransaction" previous
    ON previous.wallet_id = entry.wallet_id AND previous.wallet_seq = entry.wallet_seq - 1
WHERE entry.wallet_seq > 1 AND previous.id IS NULL
    AND (%(since)s::timestamptz IS NULL OR entry.created_at >= %(since)s)
ORDER BY 1, 2

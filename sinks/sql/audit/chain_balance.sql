-- A transaction does not start from the balance that the one before it in the wallet left.
SELECT entry.wallet_id, entry.wallet_seq, entry.id AS transaction_id,
    previous.balance_after AS previous_balance_after, entry.balance_before
FROM "CreditTransaction" entry
JOIN "CreditTransaction" previous
    ON previous.wallet_id = entry.wallet_id AND previous.wallet_seq = entry.wallet_seq - 1
WHERE entry.balance_before <> previous.balance_after
    AND (%(since)s::timestamptz IS NULL OR entry.created_at >= %(since)s)
ORDER BY 1, 2

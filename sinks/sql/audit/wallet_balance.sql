-- A wallet's balance is not what its last transaction left. (One without transactions has an opening balance.)
SELECT wallet.id AS wallet_id, wallet.balance, last.balance_after AS last_balance_after, wallet.last_seq
FROM "CreditWallet" wallet
JOIN LATERAL (
    SELECT balance_after FROM "CreditTransaction" entry
    WHERE entry.wallet_id = wallet.id ORDER BY wallet_seq DESC LIMIT 1
) last ON true
WHERE wallet.balance <> last.balance_after
    AND (%(since)s::timestamptz IS NULL OR wallet.updated_at >= %(since)s)
ORDER BY 1

-- A wallet's last_seq is not the number of its last transaction.
SELECT wallet.id AS wallet_id, wallet.last_seq, last.wallet_seq AS last_wallet_seq
FROM "CreditWallet" wallet
LEFT JOIN LATERAL (
    SELECT wallet_seq FROM "CreditTransaction" entry
    WHERE entry.wallet_id = wallet.id ORDER BY wallet_seq DESC LIMIT 1
) last ON true
WHERE wallet.last_seq <> coalesce(last.wallet_seq, 0)
    AND (%(since)s::timestamptz IS NULL OR wallet.updated_at >= %(since)s)
ORDER BY 1

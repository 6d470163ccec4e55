-- A transaction stands in a wallet that does not exist or belongs to another customer.
SELECT entry.id AS transaction_id, entry.customer_id, entry.wallet_id, wallet.customer_id AS wallet_customer_id
FROM "CreditTransaction" entry
LEFT JOIN "CreditWallet" wallet ON wallet.id = entry.wallet_id
WHERE wallet.customer_id IS DISTINCT FROM entry.customer_id
    AND (%(since)s::timestamptz IS NULL OR entry.created_at >= %(since)s)
ORDER BY 1

-- The newest transactions of each wallet of a customer.
SELECT newest.*
FROM "CreditWallet" AS wallet
    CROSS JOIN LATERAL (
        SELECT *
        FROM "CreditTransaction"
        WHERE wallet_id = wallet.id
        ORDER BY wallet_seq DESC
        LIMIT %(limit)s
    ) AS newest
WHERE wallet.customer_id = %(customer)s
ORDER BY newest.created_at DESC
LIMIT %(limit)s

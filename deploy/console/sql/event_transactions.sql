-- Transactions that name an event, of a stretch of time: nothing but their times is indexed.
SELECT transaction.*, wallet.balance AS wallet_balance, wallet.team_id AS wallet_team_id,
    wallet.user_id AS wallet_user_id, wallet.last_seq AS wallet_last_seq
FROM "CreditTransaction" AS transaction
    LEFT JOIN "CreditWallet" AS wallet ON wallet.id = transaction.wallet_id
WHERE transaction.customer_id = %(customer)s
    AND transaction.usage_event_id = %(event)s::uuid
    AND transaction.created_at BETWEEN %(since)s AND %(until)s
ORDER BY transaction.created_at
LIMIT 10

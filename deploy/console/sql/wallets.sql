SELECT id, customer_id, team_id, user_id, balance, reserved_balance, currency, expires_at, last_seq, created_at,
    updated_at
FROM "CreditWallet"
WHERE customer_id = %(customer)s
ORDER BY team_id IS NOT NULL, user_id IS NOT NULL, created_at, id
LIMIT %(limit)s

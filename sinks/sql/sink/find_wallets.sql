-- Wallets that may pay, oldest first.
SELECT id, customer_id, user_id, team_id
FROM "CreditWallet"
WHERE customer_id = ANY (%(customers)s::text[])
    AND (
        team_id = ANY (%(teams)s::text[])
        OR (team_id IS NULL AND (user_id IS NULL OR user_id = ANY (%(users)s::text[])))
    )
ORDER BY created_at, id

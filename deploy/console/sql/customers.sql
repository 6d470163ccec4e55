-- Customers by id, name or e-mail; those whose id is the text first.
SELECT customer.id, customer.name, customer.email, customer.tier, customer.status, customer.created_at,
    coalesce(wallets.balance, 0) AS balance, coalesce(wallets.number, 0) AS wallets
FROM "Customer" AS customer
    LEFT JOIN LATERAL (
        SELECT sum(balance)::bigint AS balance, count(*) AS number
        FROM "CreditWallet"
        WHERE customer_id = customer.id
    ) AS wallets ON true
WHERE %(text)s = '' OR position(lower(%(text)s) IN lower(customer.id)) > 0
    OR position(lower(%(text)s) IN lower(customer.name)) > 0
    OR position(lower(%(text)s) IN lower(customer.email)) > 0
ORDER BY customer.id <> %(text)s, customer.id
LIMIT %(limit)s

INSERT INTO "CreditWallet" (id, customer_id)
SELECT %(prefix)s || customer_id || %(suffix)s, customer_id
FROM unnest(%(customers)s::text[]) AS customer_id
ORDER BY customer_id
ON CONFLICT (id) DO NOTHING

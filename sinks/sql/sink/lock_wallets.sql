SELECT id, balance, last_seq
FROM "CreditWallet"
WHERE id = ANY (%(wallets)s::text[])
ORDER BY id
FOR UPDATE

-- One credit at the end of a wallet's chain; the wallet is locked.
WITH wallet AS (
    UPDATE "CreditWallet"
    SET balance = balance + %(amount)s, last_seq = last_seq + 1, updated_at = now()
    WHERE id = %(wallet)s
    RETURNING *
)
INSERT INTO "CreditTransaction" (
    wallet_id, customer_id, transaction_type, amount, balance_before, balance_after, description,
    idempotency_key, wallet_seq, created_at
)
SELECT wallet.id, wallet.customer_id, %(type)s, %(amount)s, wallet.balance - %(amount)s,
    wallet.balance, %(description)s, %(key)s, wallet.last_seq,
    -- Strictly rising along the chain, whatever the clock did.
    greatest(clock_timestamp(), previous.created_at + interval '1 microsecond')
FROM wallet
LEFT JOIN "CreditTransaction" previous
    ON previous.wallet_id = wallet.id AND previous.wallet_seq = wallet.last_seq - 1
RETURNING id, customer_id, wallet_id, transaction_type, amount, balance_before, balance_after,
    wallet_seq, created_at

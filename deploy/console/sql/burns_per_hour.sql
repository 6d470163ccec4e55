-- Credits burned by each wallet of a customer, by hour (UTC) of the charge.
-- A wallet's transactions are numbered without gaps and in the order of their times: where the window
-- begins is found by halving, and no transaction before it is read.
WITH RECURSIVE wallet AS (
    SELECT id, last_seq
    FROM "CreditWallet"
    WHERE customer_id = %(customer)s
), halving (wallet_id, below, beyond) AS (
    SELECT id, 0::bigint, last_seq + 1
    FROM wallet
    UNION ALL
    SELECT halving.wallet_id,
        CASE WHEN middle.created_at < %(since)s THEN middle.wallet_seq ELSE halving.below END,
        CASE WHEN middle.created_at < %(since)s THEN halving.beyond ELSE middle.wallet_seq END
    FROM halving
        JOIN "CreditTransaction" AS middle
            ON middle.wallet_id = halving.wallet_id
            AND middle.wallet_seq = (halving.below + halving.beyond) / 2
    WHERE halving.beyond - halving.below > 1
), start AS (
    SELECT wallet_id, min(beyond) AS first_seq
    FROM halving
    GROUP BY wallet_id
)
SELECT burned.wallet_id, date_trunc('hour', burned.created_at, 'UTC') AS hour,
    sum(-burned.amount)::bigint AS credits, count(*) AS events
FROM start
    JOIN "CreditTransaction" AS burned
        ON burned.wallet_id = start.wallet_id AND burned.wallet_seq >= start.first_seq
WHERE burned.transaction_type = 'BURN' AND burned.idempotency_key IS NULL AND burned.created_at >= %(since)s
GROUP BY burned.wallet_id, hour
ORDER BY hour, burned.wallet_id

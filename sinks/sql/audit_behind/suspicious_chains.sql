-- Rows only where a wallet's chain does not go on from where it stood, or the wallet is not its own.
WITH link AS (
    SELECT wallet_id, customer_id, wallet_seq, balance_before, created_at,
        lag(wallet_seq) OVER chain AS linked_seq,
        lag(balance_after) OVER chain AS linked_balance,
        lag(created_at) OVER chain AS linked_created_at,
        lag(customer_id) OVER chain AS linked_customer_id
    FROM "CreditTransaction"
    WHERE created_at >= %(since)s
    WINDOW chain AS (PARTITION BY wallet_id ORDER BY wallet_seq)
)
SELECT link.wallet_id
FROM link
WHERE linked_seq IS NOT NULL AND NOT (
        wallet_seq = linked_seq + 1 AND balance_before = linked_balance AND created_at > linked_created_at
        AND customer_id = linked_customer_id
    )
UNION ALL
SELECT link.wallet_id
FROM link
LEFT JOIN "CreditTransaction" previous
    ON previous.wallet_id = link.wallet_id AND previous.wallet_seq = link.wallet_seq - 1
LEFT JOIN "CreditWallet" wallet ON wallet.id = link.wallet_id
WHERE link.linked_seq IS NULL AND NOT (
        wallet.customer_id IS NOT DISTINCT FROM link.customer_id
        AND (link.wallet_seq = 1 OR previous.balance_after IS NOT DISTINCT FROM link.balance_before
            AND previous.created_at < link.created_at)
    )
LIMIT 1

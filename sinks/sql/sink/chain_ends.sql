-- A statement of its own after the locks: it sees what was committed while they were waited for.
SELECT clock_timestamp(), wallet.id, newest.created_at
FROM unnest(%(wallets)s::text[], %(seqs)s::bigint[]) AS wallet (id, last_seq)
LEFT JOIN "CreditTransaction" AS newest
    ON newest.wallet_id = wallet.id AND newest.wallet_seq = wallet.last_seq

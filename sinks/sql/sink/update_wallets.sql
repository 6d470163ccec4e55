UPDATE "CreditWallet" AS wallet
SET balance = burnt.balance, last_seq = burnt.last_seq, updated_at = clock_timestamp()
FROM unnest(%(wallets)s::text[], %(balances)s::bigint[], %(seqs)s::bigint[])
    AS burnt (id, balance, last_seq)
WHERE wallet.id = burnt.id

INSERT INTO "CreditTransaction" (
    wallet_id, customer_id, transaction_type, amount, balance_before, balance_after, description, metadata,
    idempotency_key, usage_event_id, wallet_seq, created_at
)
VALUES (
    %(wallet)s, %(customer)s, 'REFUND', %(amount)s, %(before)s, %(after)s, 'Voided', %(about)s, %(key)s,
    %(event)s, %(seq)s, %(created_at)s
)

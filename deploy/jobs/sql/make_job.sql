-- The plan, once its row is there the job has begun; and of the live ledger who pays from where.
CREATE TABLE IF NOT EXISTS {schema}."Job" (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    request jsonb NOT NULL,
    topic text NOT NULL,
    spans jsonb NOT NULL,
    price_revision bigint NOT NULL,
    live_schema text NOT NULL DEFAULT current_schema(),
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
INSERT INTO {schema}."Customer" (id, name, email, tier, status, api_key_hash, created_at)
SELECT id, name, id, tier, status, id, created_at FROM "Customer" ON CONFLICT DO NOTHING;
INSERT INTO {schema}."CreditWallet" (id, customer_id, user_id, team_id, expires_at, created_at)
SELECT id, customer_id, user_id, team_id, expires_at, created_at FROM "CreditWallet"
ON CONFLICT DO NOTHING;

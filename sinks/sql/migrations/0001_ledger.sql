-- The ledger: customers, wallets, usage, prices, and the positions that make every charge provable.
-- Quoted names: the tables carry the names that the testing guide's SQL uses.
-- Indexes cost write speed; each one that is not a primary key says what it is for.

CREATE TABLE "Customer" (
    -- The length keeps (customer_id, idempotency_key) within what an index entry may hold.
    id text PRIMARY KEY CHECK (id <> '' AND octet_length(id) <= 512),
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    tier text NOT NULL DEFAULT 'STARTER' CHECK (tier IN ('STARTER', 'GROWTH', 'ENTERPRISE')),
    status text NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'SUSPENDED', 'CHURNED')),
    -- SHA-256 in hex. UNIQUE serves the look-up of every request, too.
    api_key_hash text NOT NULL UNIQUE,
    -- The key before the last rotation, valid for an overlap.
    previous_api_key_hash text UNIQUE,
    previous_api_key_valid_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((previous_api_key_hash IS NULL) = (previous_api_key_valid_until IS NULL))
);

CREATE TABLE "CreditWallet" (
    id text PRIMARY KEY CHECK (id <> ''),
    customer_id text NOT NULL REFERENCES "Customer" (id),
    user_id text,
    team_id text,
    -- May be negative: usage that happened is recorded as debt.
    balance bigint NOT NULL DEFAULT 0,
    reserved_balance bigint NOT NULL DEFAULT 0 CHECK (reserved_balance >= 0),
    currency text NOT NULL DEFAULT 'credits',
    expires_at timestamptz,
    -- wallet_seq of the wallet's newest transaction.
    last_seq bigint NOT NULL DEFAULT 0 CHECK (last_seq >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
-- Room on each page keeps balance updates off the indexes.
) WITH (fillfactor = 50);

-- A sink transaction finds the wallets of its customers.
CREATE INDEX "CreditWallet_customer" ON "CreditWallet" (customer_id);

CREATE TABLE "UsageEvent" (
    -- event_id, lower case; unique within the customer, not beyond.
    id uuid NOT NULL,
    -- No foreign keys on this hot table: docs/adr/0007-foreign-keys-on-the-hot-path.md. `audit` proves them.
    customer_id text NOT NULL,
    user_id text,
    team_id text,
    event_type text NOT NULL CHECK (event_type IN (
        'TOKEN_USAGE', 'API_CALL', 'FEATURE_ACCESS', 'IMAGE_GENERATION', 'VIDEO_GENERATION', 'CUSTOM'
    )),
    feature_id text NOT NULL,
    provider text,
    model text,
    input_tokens bigint NOT NULL DEFAULT 0 CHECK (input_tokens >= 0),
    output_tokens bigint NOT NULL DEFAULT 0 CHECK (output_tokens >= 0),
    image_count bigint CHECK (image_count > 0),
    image_size text,
    quality text,
    duration_seconds numeric CHECK (duration_seconds > 0),
    resolution text,
    unit_type text,
    quantity numeric CHECK (quantity > 0),
    credits_burned bigint NOT NULL CHECK (credits_burned >= 0),
    -- Without a scale: what is written is what is printed (0.015000).
    cost_usd numeric NOT NULL CHECK (cost_usd >= 0),
    -- The ProviderCost and BurnTable rows that made the price.
    price_ids text[] NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    idempotency_key text CHECK (idempotency_key <> ''),
    "timestamp" timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Where the event stands in usage.raw.
    source_partition integer NOT NULL,
    source_epoch integer NOT NULL,
    source_offset bigint NOT NULL,
    source_index integer NOT NULL,
    -- Refuses a second charge; serves look-ups by event and by customer.
    PRIMARY KEY (customer_id, id)
);

-- Refuses a second charge under one key. Partial: events without a key pay nothing for it.
CREATE UNIQUE INDEX "UsageEvent_idempotency" ON "UsageEvent" (customer_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
-- A few bytes per hundred pages; a bounded audit reads only what is new.
CREATE INDEX "UsageEvent_created" ON "UsageEvent" USING brin (created_at);

CREATE TABLE "CreditTransaction" (
    id text PRIMARY KEY DEFAULT 'txn-' || gen_random_uuid()::text CHECK (id LIKE 'txn-%'),
    -- No foreign keys on this hot table: docs/adr/0007-foreign-keys-on-the-hot-path.md. `audit` proves them.
    wallet_id text NOT NULL,
    customer_id text NOT NULL,
    transaction_type text NOT NULL
        CHECK (transaction_type IN ('PURCHASE', 'BURN', 'REFUND', 'EXPIRATION', 'GRANT')),
    amount bigint NOT NULL,
    balance_before bigint NOT NULL,
    balance_after bigint NOT NULL,
    description text,
    metadata jsonb NOT NULL DEFAULT '{}',
    idempotency_key text CHECK (idempotency_key <> ''),
    -- The charged event, of the same customer.
    usage_event_id uuid,
    -- Place in the wallet's chain: 1, 2, 3 ...
    wallet_seq bigint NOT NULL CHECK (wallet_seq > 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (balance_after = balance_before + amount),
    CHECK (CASE WHEN transaction_type IN ('BURN', 'EXPIRATION') THEN amount < 0 ELSE amount > 0 END),
    CHECK (transaction_type <> 'BURN' OR usage_event_id IS NOT NULL),
    -- Refuses a fork of the chain; serves a wallet's history.
    CONSTRAINT "CreditTransaction_chain" UNIQUE (wallet_id, wallet_seq)
);

-- Makes top-ups idempotent. Partial: burns have no key and pay nothing for it.
CREATE UNIQUE INDEX "CreditTransaction_idempotency" ON "CreditTransaction" (customer_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
-- A few bytes per hundred pages; a bounded audit reads only what is new.
CREATE INDEX "CreditTransaction_created" ON "CreditTransaction" USING brin (created_at);

CREATE TABLE "DuplicateEvent" (
    partition integer NOT NULL,
    epoch integer NOT NULL,
    "offset" bigint NOT NULL,
    index integer NOT NULL,
    customer_id text NOT NULL,
    event_id uuid NOT NULL,
    idempotency_key text CHECK (idempotency_key <> ''),
    -- The position of the first one; unknown for conflicts that the database found.
    of_partition integer,
    of_offset bigint,
    of_index integer,
    found_by text NOT NULL CHECK (found_by IN ('seen', 'conflict')),
    -- Position of the dead letter that this record replayed: 'partition:epoch:offset:index'.
    replay_of text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, epoch, "offset", index)
);

-- What became of an event, asked by its id.
CREATE INDEX "DuplicateEvent_event" ON "DuplicateEvent" (customer_id, event_id);

CREATE TABLE "DeadLetter" (
    partition integer NOT NULL,
    epoch integer NOT NULL,
    "offset" bigint NOT NULL,
    index integer NOT NULL,
    id text NOT NULL UNIQUE GENERATED ALWAYS AS (
        'dl-' || partition::text || '-' || epoch::text || '-' || "offset"::text || '-' || index::text
    ) STORED,
    -- What could be read of the event; nothing of it is known to be true, so there are no foreign keys.
    customer_id text,
    event_id text,
    idempotency_key text,
    provider text,
    model text,
    reason text NOT NULL CHECK (reason IN (
        'NOT_JSON', 'BAD_SCHEMA', 'TOO_MANY_EVENTS', 'UNPRICED', 'TIMESTAMP_OUT_OF_RANGE',
        'UNKNOWN_CUSTOMER', 'REFUSED_BY_DATABASE', 'ORIGINAL_NOT_CHARGED', 'QUARANTINED'
    )),
    message text NOT NULL,
    payload bytea NOT NULL,
    record_key bytea,
    status text NOT NULL DEFAULT 'OPEN' CHECK (status IN ('OPEN', 'REPLAYED', 'DISCARDED')),
    -- Position of the dead letter that this record replayed: 'partition:epoch:offset:index'.
    replay_of text,
    found_by text NOT NULL CHECK (found_by IN ('streams', 'sinks')),
    replays integer NOT NULL DEFAULT 0 CHECK (replays >= 0),
    -- Where Kafka put the last replay: 'partition:offset'. Lets `audit` ask what became of it.
    replayed_as text,
    created_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    resolved_by text,
    resolved_reason text,
    PRIMARY KEY (partition, epoch, "offset", index),
    CHECK (status = 'OPEN' OR (resolved_at IS NOT NULL AND resolved_by IS NOT NULL))
);

-- No index entry holds two texts of a stranger: its size is bounded, and a refused letter would stop a sink.
-- A customer's own letters.
CREATE INDEX "DeadLetter_customer" ON "DeadLetter" (customer_id, created_at);
-- What became of an event, asked by its id.
CREATE INDEX "DeadLetter_event" ON "DeadLetter" (event_id);
-- UNPRICED letters that a new price may cover; the operator's list of what is open.
CREATE INDEX "DeadLetter_open" ON "DeadLetter" (reason, created_at) WHERE status = 'OPEN';

-- How far each partition of the raw topic is applied. Rows are made by `burnstream topics` only.
CREATE TABLE "SinkOffset" (
    topic text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    epoch integer NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    next_offset bigint NOT NULL DEFAULT 0 CHECK (next_offset >= 0),
    -- The next record of the rated topic to read.
    rated_offset bigint NOT NULL DEFAULT 0 CHECK (rated_offset >= 0),
    -- Highest broker time applied, milliseconds.
    max_broker_time bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- One row per applied rated batch, counted after clipping.
-- A row of kind new-epoch stands under the epoch that it ends: first_offset is the position that had been
-- reached, next_offset the one at which the next epoch starts (it may be lower).
CREATE TABLE "RatedBatch" (
    topic text NOT NULL,
    partition integer NOT NULL,
    epoch integer NOT NULL,
    first_offset bigint NOT NULL CHECK (first_offset >= 0),
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    rated_offset bigint NOT NULL,
    kind text NOT NULL DEFAULT 'rated' CHECK (kind IN ('rated', 'hole', 'new-epoch')),
    charged integer NOT NULL DEFAULT 0 CHECK (charged >= 0),
    -- Called duplicates by the stream stage.
    duplicates integer NOT NULL DEFAULT 0 CHECK (duplicates >= 0),
    -- Called first by the stream stage, duplicates by this database.
    conflicts integer NOT NULL DEFAULT 0 CHECK (conflicts >= 0),
    -- Dead letters of the stream stage.
    dead_letters integer NOT NULL DEFAULT 0 CHECK (dead_letters >= 0),
    -- Dead letters of the sink: unknown customers, values that this database refuses.
    refused integer NOT NULL DEFAULT 0 CHECK (refused >= 0),
    price_revision bigint,
    reason text,
    decided_by text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, epoch, first_offset),
    CHECK (kind = 'new-epoch' OR next_offset > first_offset),
    CHECK (kind = 'rated' OR (reason IS NOT NULL AND decided_by IS NOT NULL)),
    CHECK (kind = 'rated' OR charged + duplicates + conflicts + dead_letters + refused = 0)
);

-- Random keys of this installation.
CREATE TABLE "ServerSecret" (
    name text PRIMARY KEY,
    value text NOT NULL
);

INSERT INTO "ServerSecret" (name, value)
VALUES ('batch_id', replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''));

CREATE TABLE "ProviderCost" (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text CHECK (id <> ''),
    provider text NOT NULL,
    model text NOT NULL,
    cost_type text NOT NULL
        CHECK (cost_type IN ('INPUT_TOKEN', 'OUTPUT_TOKEN', 'REQUEST', 'IMAGE', 'AUDIO', 'VIDEO')),
    cost_per_unit numeric NOT NULL CHECK (cost_per_unit >= 0),
    unit_size integer NOT NULL DEFAULT 1000 CHECK (unit_size > 0),
    -- Nothing converts currencies: another one would be charged as dollars.
    currency text NOT NULL DEFAULT 'USD' CHECK (currency = 'USD'),
    valid_from timestamptz NOT NULL DEFAULT now(),
    valid_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Set by a trigger.
    revision bigint NOT NULL DEFAULT 0,
    CHECK (valid_until > valid_from)
);

CREATE TABLE "BurnTable" (
    id text PRIMARY KEY DEFAULT gen_random_uuid()::text CHECK (id <> ''),
    customer_id text NOT NULL REFERENCES "Customer" (id),
    name text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    rules jsonb NOT NULL CHECK (jsonb_typeof(rules) = 'object'),
    is_active boolean NOT NULL DEFAULT true,
    valid_from timestamptz NOT NULL DEFAULT now(),
    valid_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- Set by a trigger.
    revision bigint NOT NULL DEFAULT 0,
    CHECK (valid_until > valid_from)
);

-- Seeded rows by id, so that seeding again brings back nothing that an operator deleted.
CREATE TABLE "SeededPrice" (
    id text PRIMARY KEY,
    seeded_at timestamptz NOT NULL DEFAULT now()
);

-- One row. Whoever changes prices holds its lock until the end of his transaction, so revisions become
-- visible in their order.
CREATE TABLE "PriceRevision" (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    revision bigint NOT NULL
);

INSERT INTO "PriceRevision" (revision) VALUES (0);

-- Runs before each statement, TRUNCATE included: deletions count as changes.
CREATE FUNCTION bump_price_revision() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    bumped bigint;
BEGIN
    UPDATE "PriceRevision" SET revision = revision + 1 RETURNING revision INTO STRICT bumped;
    PERFORM pg_notify('price_revision', bumped::text);
    RETURN NULL;
END
$$;

CREATE FUNCTION stamp_price_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.revision := (SELECT revision FROM "PriceRevision");
    RETURN NEW;
END
$$;

CREATE TRIGGER bump_price_revision
    BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON "ProviderCost"
    FOR EACH STATEMENT EXECUTE FUNCTION bump_price_revision();
CREATE TRIGGER stamp_price_revision
    BEFORE INSERT OR UPDATE ON "ProviderCost"
    FOR EACH ROW EXECUTE FUNCTION stamp_price_revision();
CREATE TRIGGER bump_price_revision
    BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON "BurnTable"
    FOR EACH STATEMENT EXECUTE FUNCTION bump_price_revision();
CREATE TRIGGER stamp_price_revision
    BEFORE INSERT OR UPDATE ON "BurnTable"
    FOR EACH ROW EXECUTE FUNCTION stamp_price_revision();

-- What jobs need of the ledger: every price as it was at each revision, and which job charged what.

-- A row per change of a price: what it was from this revision on. The prices of revision N are, of each
-- key, the newest row of a revision up to N. A rated batch names the revision that it was priced by.
CREATE TABLE "PriceHistory" (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    -- The table's name and the row's id.
    price_table text NOT NULL CHECK (price_table IN ('ProviderCost', 'BurnTable')),
    price_id text NOT NULL,
    revision bigint NOT NULL,
    -- NULL: deleted.
    price jsonb,
    known_from timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX "PriceHistory_price" ON "PriceHistory" (price_table, price_id, revision, id);

CREATE FUNCTION keep_price() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO "PriceHistory" (price_table, price_id, revision)
        SELECT TG_TABLE_NAME, price_id, (SELECT revision FROM "PriceRevision")
        FROM "PriceHistory" WHERE price_table = TG_TABLE_NAME GROUP BY price_id;
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND OLD.id <> NEW.id) THEN
        INSERT INTO "PriceHistory" (price_table, price_id, revision)
        VALUES (TG_TABLE_NAME, OLD.id, (SELECT revision FROM "PriceRevision"));
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO "PriceHistory" (price_table, price_id, revision, price)
        VALUES (TG_TABLE_NAME, NEW.id, NEW.revision, to_jsonb(NEW));
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER keep_price AFTER INSERT OR UPDATE OR DELETE ON "ProviderCost"
    FOR EACH ROW EXECUTE FUNCTION keep_price();
CREATE TRIGGER keep_price_truncated AFTER TRUNCATE ON "ProviderCost"
    FOR EACH STATEMENT EXECUTE FUNCTION keep_price();
CREATE TRIGGER keep_price AFTER INSERT OR UPDATE OR DELETE ON "BurnTable"
    FOR EACH ROW EXECUTE FUNCTION keep_price();
CREATE TRIGGER keep_price_truncated AFTER TRUNCATE ON "BurnTable"
    FOR EACH STATEMENT EXECUTE FUNCTION keep_price();

-- Of the time before, each price as it is now, from its own revision on; what it had been is lost.
INSERT INTO "PriceHistory" (price_table, price_id, revision, price)
SELECT 'ProviderCost', id, revision, to_jsonb(cost) FROM "ProviderCost" AS cost
UNION ALL
SELECT 'BurnTable', id, revision, to_jsonb(burn_table) FROM "BurnTable" AS burn_table;

-- One row: the revision from which on the history is whole.
CREATE TABLE "PriceHistoryBegin" (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    revision bigint NOT NULL
);

INSERT INTO "PriceHistoryBegin" (revision) SELECT revision FROM "PriceRevision";

-- How far each job came, for whoever looks on: told by its processes, once a second. It is gone with the job.
CREATE TABLE "JobProgress" (
    job text NOT NULL,
    partition integer NOT NULL,
    -- The span [first_offset, next_offset), and how far of it is rated and applied.
    first_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    rated_to bigint NOT NULL,
    applied_to bigint NOT NULL,
    -- What its process believes that all it has to do still takes; NULL: it does not know.
    seconds_left double precision,
    begun_at timestamptz NOT NULL DEFAULT now(),
    told_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job, partition)
);

-- What a backfill writes to usage.raw, put down before it does. An event once per job.
CREATE TABLE "JobCharge" (
    job text NOT NULL,
    customer_id text NOT NULL,
    event_id uuid NOT NULL,
    -- Where the job found it.
    source_topic text NOT NULL,
    source_partition integer NOT NULL,
    source_offset bigint NOT NULL,
    source_index integer NOT NULL,
    -- Where Kafka put it in usage.raw; NULL until it said so.
    raw_partition integer,
    raw_offset bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job, customer_id, event_id),
    CHECK ((raw_partition IS NULL) = (raw_offset IS NULL))
);

CREATE INDEX "JobCharge_event" ON "JobCharge" (customer_id, event_id);

-- Where usage.raw ended when a backfill began: from there on, what it had written is found again.
CREATE TABLE "JobBackfill" (
    job text NOT NULL,
    partition integer NOT NULL,
    raw_offset bigint NOT NULL,
    PRIMARY KEY (job, partition)
);

-- The rows that a job's records charged, with the job's id: usage and the burn that paid for it. An event
-- that somebody else's record charged first is not the job's.
CREATE VIEW job_charges AS
SELECT
    asked.job, usage.customer_id, usage.id AS event_id, usage.credits_burned AS credits, usage.cost_usd,
    burn.id AS transaction_id, burn.wallet_id, usage.source_partition, usage.source_offset, usage.created_at
FROM "JobCharge" AS asked
JOIN "UsageEvent" AS usage
    ON usage.customer_id = asked.customer_id AND usage.id = asked.event_id
    AND usage.source_partition = asked.raw_partition AND usage.source_offset = asked.raw_offset
LEFT JOIN "CreditTransaction" AS burn
    ON burn.customer_id = usage.customer_id AND burn.usage_event_id = usage.id AND burn.transaction_type = 'BURN'
    AND burn.idempotency_key IS NULL;

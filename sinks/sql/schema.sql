-- The schema as it stands after all migrations, for reading.
-- Made by: pg_dump --schema-only --no-owner --no-privileges --no-comments, settings taken out.
-- tests/integration/operations/test_migrations.py compares its catalogs with those that the migrations make.

CREATE FUNCTION public.bump_price_revision() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    bumped bigint;
BEGIN
    UPDATE "PriceRevision" SET revision = revision + 1 RETURNING revision INTO STRICT bumped;
    PERFORM pg_notify('price_revision', bumped::text);
    RETURN NULL;
END
$$;

CREATE FUNCTION public.keep_price() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.stamp_price_revision() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.revision := (SELECT revision FROM "PriceRevision");
    RETURN NEW;
END
$$;

CREATE TABLE public."UsageEvent" (
    id uuid NOT NULL,
    customer_id text NOT NULL,
    user_id text,
    team_id text,
    event_type text NOT NULL,
    feature_id text NOT NULL,
    provider text,
    model text,
    input_tokens bigint DEFAULT 0 NOT NULL,
    output_tokens bigint DEFAULT 0 NOT NULL,
    image_count bigint,
    image_size text,
    quality text,
    duration_seconds numeric,
    resolution text,
    unit_type text,
    quantity numeric,
    credits_burned bigint NOT NULL,
    cost_usd numeric NOT NULL,
    price_ids text[] DEFAULT '{}'::text[] NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    idempotency_key text,
    "timestamp" timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    source_partition integer NOT NULL,
    source_epoch integer NOT NULL,
    source_offset bigint NOT NULL,
    source_index integer NOT NULL,
    CONSTRAINT "UsageEvent_cost_usd_check" CHECK ((cost_usd >= (0)::numeric)),
    CONSTRAINT "UsageEvent_credits_burned_check" CHECK ((credits_burned >= 0)),
    CONSTRAINT "UsageEvent_duration_seconds_check" CHECK ((duration_seconds > (0)::numeric)),
    CONSTRAINT "UsageEvent_event_type_check" CHECK ((event_type = ANY (ARRAY['TOKEN_USAGE'::text, 'API_CALL'::text, 'FEATURE_ACCESS'::text, 'IMAGE_GENERATION'::text, 'VIDEO_GENERATION'::text, 'CUSTOM'::text]))),
    CONSTRAINT "UsageEvent_idempotency_key_check" CHECK ((idempotency_key <> ''::text)),
    CONSTRAINT "UsageEvent_image_count_check" CHECK ((image_count > 0)),
    CONSTRAINT "UsageEvent_input_tokens_check" CHECK ((input_tokens >= 0)),
    CONSTRAINT "UsageEvent_output_tokens_check" CHECK ((output_tokens >= 0)),
    CONSTRAINT "UsageEvent_quantity_check" CHECK ((quantity > (0)::numeric))
);

CREATE VIEW public.charges AS
 SELECT id AS event_id,
    customer_id,
    user_id,
    team_id,
    (("timestamp" AT TIME ZONE 'UTC'::text))::date AS day,
    "timestamp",
    event_type,
    provider,
    model,
    feature_id,
    input_tokens,
    output_tokens,
    image_count,
    image_size,
    quality,
    duration_seconds,
    resolution,
    quantity,
    unit_type,
    credits_burned AS credits,
    cost_usd,
    price_ids,
    source_partition,
    source_epoch,
    source_offset,
    source_index
   FROM public."UsageEvent";

CREATE FUNCTION public.top_movers(of_day date) RETURNS TABLE(customer_id text, credits bigint, credits_before bigint, change bigint)
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 SELECT burned.customer_id,
     burned.credits,
     burned.credits_before,
     (burned.credits - burned.credits_before)
    FROM ( SELECT charges.customer_id,
             (COALESCE(sum(charges.credits) FILTER (WHERE (charges.day = top_movers.of_day)), (0)::numeric))::bigint AS credits,
             (COALESCE(sum(charges.credits) FILTER (WHERE (charges.day < top_movers.of_day)), (0)::numeric))::bigint AS credits_before
            FROM public.charges
           WHERE ((charges.day >= (top_movers.of_day - 1)) AND (charges.day <= top_movers.of_day))
           GROUP BY charges.customer_id) burned
   ORDER BY (abs((burned.credits - burned.credits_before))) DESC, burned.customer_id;
END;

CREATE TABLE public."AuditProof" (
    topic text NOT NULL,
    partition integer NOT NULL,
    epoch integer NOT NULL,
    next_offset bigint NOT NULL,
    batches bigint DEFAULT 0 NOT NULL,
    charged bigint DEFAULT 0 NOT NULL,
    duplicates bigint DEFAULT 0 NOT NULL,
    conflicts bigint DEFAULT 0 NOT NULL,
    dead_letters bigint DEFAULT 0 NOT NULL,
    refused bigint DEFAULT 0 NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    proven_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public."BurnTable" (
    id text DEFAULT (gen_random_uuid())::text NOT NULL,
    customer_id text NOT NULL,
    name text NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    rules jsonb NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    valid_from timestamp with time zone DEFAULT now() NOT NULL,
    valid_until timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    revision bigint DEFAULT 0 NOT NULL,
    CONSTRAINT "BurnTable_check" CHECK ((valid_until > valid_from)),
    CONSTRAINT "BurnTable_id_check" CHECK ((id <> ''::text)),
    CONSTRAINT "BurnTable_rules_check" CHECK ((jsonb_typeof(rules) = 'object'::text))
);

CREATE TABLE public."CreditTransaction" (
    id text DEFAULT ('txn-'::text || (gen_random_uuid())::text) NOT NULL,
    wallet_id text NOT NULL,
    customer_id text NOT NULL,
    transaction_type text NOT NULL,
    amount bigint NOT NULL,
    balance_before bigint NOT NULL,
    balance_after bigint NOT NULL,
    description text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    idempotency_key text,
    usage_event_id uuid,
    wallet_seq bigint NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT "CreditTransaction_check" CHECK ((balance_after = (balance_before + amount))),
    CONSTRAINT "CreditTransaction_check1" CHECK (
CASE
    WHEN (transaction_type = ANY (ARRAY['BURN'::text, 'EXPIRATION'::text])) THEN (amount < 0)
    ELSE (amount > 0)
END),
    CONSTRAINT "CreditTransaction_check2" CHECK (((transaction_type <> 'BURN'::text) OR (usage_event_id IS NOT NULL))),
    CONSTRAINT "CreditTransaction_id_check" CHECK ((id ~~ 'txn-%'::text)),
    CONSTRAINT "CreditTransaction_idempotency_key_check" CHECK ((idempotency_key <> ''::text)),
    CONSTRAINT "CreditTransaction_transaction_type_check" CHECK ((transaction_type = ANY (ARRAY['PURCHASE'::text, 'BURN'::text, 'REFUND'::text, 'EXPIRATION'::text, 'GRANT'::text]))),
    CONSTRAINT "CreditTransaction_wallet_seq_check" CHECK ((wallet_seq > 0))
);

CREATE TABLE public."CreditWallet" (
    id text NOT NULL,
    customer_id text NOT NULL,
    user_id text,
    team_id text,
    balance bigint DEFAULT 0 NOT NULL,
    reserved_balance bigint DEFAULT 0 NOT NULL,
    currency text DEFAULT 'credits'::text NOT NULL,
    expires_at timestamp with time zone,
    last_seq bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT "CreditWallet_id_check" CHECK ((id <> ''::text)),
    CONSTRAINT "CreditWallet_last_seq_check" CHECK ((last_seq >= 0)),
    CONSTRAINT "CreditWallet_reserved_balance_check" CHECK ((reserved_balance >= 0))
)
WITH (fillfactor='50');

CREATE TABLE public."Customer" (
    id text NOT NULL,
    name text NOT NULL,
    email text NOT NULL,
    tier text DEFAULT 'STARTER'::text NOT NULL,
    status text DEFAULT 'ACTIVE'::text NOT NULL,
    api_key_hash text NOT NULL,
    previous_api_key_hash text,
    previous_api_key_valid_until timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT "Customer_check" CHECK (((previous_api_key_hash IS NULL) = (previous_api_key_valid_until IS NULL))),
    CONSTRAINT "Customer_id_check" CHECK (((id <> ''::text) AND (octet_length(id) <= 512))),
    CONSTRAINT "Customer_status_check" CHECK ((status = ANY (ARRAY['ACTIVE'::text, 'SUSPENDED'::text, 'CHURNED'::text]))),
    CONSTRAINT "Customer_tier_check" CHECK ((tier = ANY (ARRAY['STARTER'::text, 'GROWTH'::text, 'ENTERPRISE'::text])))
);

CREATE TABLE public."DeadLetter" (
    partition integer NOT NULL,
    epoch integer NOT NULL,
    "offset" bigint NOT NULL,
    index integer NOT NULL,
    id text GENERATED ALWAYS AS (((((((('dl-'::text || (partition)::text) || '-'::text) || (epoch)::text) || '-'::text) || ("offset")::text) || '-'::text) || (index)::text)) STORED NOT NULL,
    customer_id text,
    event_id text,
    idempotency_key text,
    provider text,
    model text,
    reason text NOT NULL,
    message text NOT NULL,
    payload bytea NOT NULL,
    record_key bytea,
    status text DEFAULT 'OPEN'::text NOT NULL,
    replay_of text,
    found_by text NOT NULL,
    replays integer DEFAULT 0 NOT NULL,
    replayed_as text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    resolved_at timestamp with time zone,
    resolved_by text,
    resolved_reason text,
    CONSTRAINT "DeadLetter_check" CHECK (((status = 'OPEN'::text) OR ((resolved_at IS NOT NULL) AND (resolved_by IS NOT NULL)))),
    CONSTRAINT "DeadLetter_found_by_check" CHECK ((found_by = ANY (ARRAY['streams'::text, 'sinks'::text]))),
    CONSTRAINT "DeadLetter_reason_check" CHECK ((reason = ANY (ARRAY['NOT_JSON'::text, 'BAD_SCHEMA'::text, 'TOO_MANY_EVENTS'::text, 'UNPRICED'::text, 'TIMESTAMP_OUT_OF_RANGE'::text, 'UNKNOWN_CUSTOMER'::text, 'REFUSED_BY_DATABASE'::text, 'ORIGINAL_NOT_CHARGED'::text, 'QUARANTINED'::text]))),
    CONSTRAINT "DeadLetter_replays_check" CHECK ((replays >= 0)),
    CONSTRAINT "DeadLetter_status_check" CHECK ((status = ANY (ARRAY['OPEN'::text, 'REPLAYED'::text, 'DISCARDED'::text])))
);

CREATE TABLE public."DuplicateEvent" (
    partition integer NOT NULL,
    epoch integer NOT NULL,
    "offset" bigint NOT NULL,
    index integer NOT NULL,
    customer_id text NOT NULL,
    event_id uuid NOT NULL,
    idempotency_key text,
    of_partition integer,
    of_offset bigint,
    of_index integer,
    found_by text NOT NULL,
    replay_of text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT "DuplicateEvent_found_by_check" CHECK ((found_by = ANY (ARRAY['seen'::text, 'conflict'::text]))),
    CONSTRAINT "DuplicateEvent_idempotency_key_check" CHECK ((idempotency_key <> ''::text))
);

CREATE TABLE public."JobBackfill" (
    job text NOT NULL,
    partition integer NOT NULL,
    raw_offset bigint NOT NULL
);

CREATE TABLE public."JobCharge" (
    job text NOT NULL,
    customer_id text NOT NULL,
    event_id uuid NOT NULL,
    source_topic text NOT NULL,
    source_partition integer NOT NULL,
    source_offset bigint NOT NULL,
    source_index integer NOT NULL,
    raw_partition integer,
    raw_offset bigint,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT "JobCharge_check" CHECK (((raw_partition IS NULL) = (raw_offset IS NULL)))
);

CREATE TABLE public."JobProgress" (
    job text NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    rated_to bigint NOT NULL,
    applied_to bigint NOT NULL,
    seconds_left double precision,
    begun_at timestamp with time zone DEFAULT now() NOT NULL,
    told_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public."PriceHistory" (
    id bigint NOT NULL,
    price_table text NOT NULL,
    price_id text NOT NULL,
    revision bigint NOT NULL,
    price jsonb,
    known_from timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT "PriceHistory_price_table_check" CHECK ((price_table = ANY (ARRAY['ProviderCost'::text, 'BurnTable'::text])))
);

CREATE TABLE public."PriceHistoryBegin" (
    singleton boolean DEFAULT true NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT "PriceHistoryBegin_singleton_check" CHECK (singleton)
);

ALTER TABLE public."PriceHistory" ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public."PriceHistory_id_seq"
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public."PriceRevision" (
    singleton boolean DEFAULT true NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT "PriceRevision_singleton_check" CHECK (singleton)
);

CREATE TABLE public."ProviderCost" (
    id text DEFAULT (gen_random_uuid())::text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    cost_type text NOT NULL,
    cost_per_unit numeric NOT NULL,
    unit_size integer DEFAULT 1000 NOT NULL,
    currency text DEFAULT 'USD'::text NOT NULL,
    valid_from timestamp with time zone DEFAULT now() NOT NULL,
    valid_until timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revision bigint DEFAULT 0 NOT NULL,
    CONSTRAINT "ProviderCost_check" CHECK ((valid_until > valid_from)),
    CONSTRAINT "ProviderCost_cost_per_unit_check" CHECK ((cost_per_unit >= (0)::numeric)),
    CONSTRAINT "ProviderCost_cost_type_check" CHECK ((cost_type = ANY (ARRAY['INPUT_TOKEN'::text, 'OUTPUT_TOKEN'::text, 'REQUEST'::text, 'IMAGE'::text, 'AUDIO'::text, 'VIDEO'::text]))),
    CONSTRAINT "ProviderCost_currency_check" CHECK ((currency = 'USD'::text)),
    CONSTRAINT "ProviderCost_id_check" CHECK ((id <> ''::text)),
    CONSTRAINT "ProviderCost_unit_size_check" CHECK ((unit_size > 0))
);

CREATE TABLE public."RatedBatch" (
    topic text NOT NULL,
    partition integer NOT NULL,
    epoch integer NOT NULL,
    first_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    rated_offset bigint NOT NULL,
    kind text DEFAULT 'rated'::text NOT NULL,
    charged integer DEFAULT 0 NOT NULL,
    duplicates integer DEFAULT 0 NOT NULL,
    conflicts integer DEFAULT 0 NOT NULL,
    dead_letters integer DEFAULT 0 NOT NULL,
    refused integer DEFAULT 0 NOT NULL,
    price_revision bigint,
    reason text,
    decided_by text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT "RatedBatch_charged_check" CHECK ((charged >= 0)),
    CONSTRAINT "RatedBatch_check" CHECK (((kind = 'new-epoch'::text) OR (next_offset > first_offset))),
    CONSTRAINT "RatedBatch_check1" CHECK (((kind = 'rated'::text) OR ((reason IS NOT NULL) AND (decided_by IS NOT NULL)))),
    CONSTRAINT "RatedBatch_check2" CHECK (((kind = 'rated'::text) OR (((((charged + duplicates) + conflicts) + dead_letters) + refused) = 0))),
    CONSTRAINT "RatedBatch_conflicts_check" CHECK ((conflicts >= 0)),
    CONSTRAINT "RatedBatch_dead_letters_check" CHECK ((dead_letters >= 0)),
    CONSTRAINT "RatedBatch_duplicates_check" CHECK ((duplicates >= 0)),
    CONSTRAINT "RatedBatch_first_offset_check" CHECK ((first_offset >= 0)),
    CONSTRAINT "RatedBatch_kind_check" CHECK ((kind = ANY (ARRAY['rated'::text, 'hole'::text, 'new-epoch'::text]))),
    CONSTRAINT "RatedBatch_next_offset_check" CHECK ((next_offset >= 0)),
    CONSTRAINT "RatedBatch_refused_check" CHECK ((refused >= 0))
);

CREATE TABLE public."SchemaMigration" (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public."SeededPrice" (
    id text NOT NULL,
    seeded_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public."ServerSecret" (
    name text NOT NULL,
    value text NOT NULL
);

CREATE TABLE public."SinkOffset" (
    topic text NOT NULL,
    partition integer NOT NULL,
    epoch integer DEFAULT 0 NOT NULL,
    next_offset bigint DEFAULT 0 NOT NULL,
    rated_offset bigint DEFAULT 0 NOT NULL,
    max_broker_time bigint DEFAULT 0 NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT "SinkOffset_epoch_check" CHECK ((epoch >= 0)),
    CONSTRAINT "SinkOffset_next_offset_check" CHECK ((next_offset >= 0)),
    CONSTRAINT "SinkOffset_partition_check" CHECK ((partition >= 0)),
    CONSTRAINT "SinkOffset_rated_offset_check" CHECK ((rated_offset >= 0))
)
WITH (fillfactor='50');

CREATE TABLE public."VoidedEvent" (
    customer_id text NOT NULL,
    event_id uuid NOT NULL,
    voided_by uuid NOT NULL,
    is_replaced boolean NOT NULL,
    reason text NOT NULL,
    requested_by text,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE VIEW public.balances AS
 SELECT customer_id,
    id AS wallet_id,
    user_id,
    team_id,
    balance AS credits,
    expires_at
   FROM public."CreditWallet";

CREATE VIEW public.burn_per_day AS
 SELECT day,
    customer_id,
    event_type,
    provider,
    model,
    feature_id,
    count(*) AS events,
    (sum(input_tokens))::bigint AS input_tokens,
    (sum(output_tokens))::bigint AS output_tokens,
    (sum(credits))::bigint AS credits,
    sum(cost_usd) AS cost_usd
   FROM public.charges
  GROUP BY day, customer_id, event_type, provider, model, feature_id;

CREATE VIEW public.corrections AS
 SELECT (metadata ->> 'job'::text) AS job,
    customer_id,
    usage_event_id AS event_id,
    id AS transaction_id,
    (metadata ->> 'corrects'::text) AS corrects,
    wallet_id,
    (- amount) AS credits,
    created_at
   FROM public."CreditTransaction"
  WHERE ((idempotency_key ~~ 'reprice:%'::text) AND (usage_event_id IS NOT NULL));

CREATE VIEW public.charges_corrected AS
 SELECT charges.event_id,
    charges.customer_id,
    charges.user_id,
    charges.team_id,
    charges.day,
    charges."timestamp",
    charges.event_type,
    charges.provider,
    charges.model,
    charges.feature_id,
    charges.input_tokens,
    charges.output_tokens,
    charges.image_count,
    charges.image_size,
    charges.quality,
    charges.duration_seconds,
    charges.resolution,
    charges.quantity,
    charges.unit_type,
    charges.credits,
    charges.cost_usd,
    charges.price_ids,
    charges.source_partition,
    charges.source_epoch,
    charges.source_offset,
    charges.source_index,
    (charges.credits + COALESCE(corrected.credits, (0)::bigint)) AS credits_corrected
   FROM (public.charges
     LEFT JOIN ( SELECT corrections.customer_id,
            corrections.event_id,
            (sum(corrections.credits))::bigint AS credits
           FROM public.corrections
          GROUP BY corrections.customer_id, corrections.event_id) corrected USING (customer_id, event_id));

CREATE VIEW public.cost_against_credits AS
 SELECT day,
    customer_id,
    provider,
    model,
    count(*) AS events,
    sum(cost_usd) AS cost_usd,
    (sum(credits))::bigint AS credits,
    (sum(credits) * 0.001) AS credits_usd,
    ((sum(credits) * 0.001) - sum(cost_usd)) AS margin_usd
   FROM public.charges
  GROUP BY day, customer_id, provider, model;

CREATE VIEW public.dead_letters_by_reason AS
 SELECT ((created_at AT TIME ZONE 'UTC'::text))::date AS day,
    reason,
    status,
    provider,
    model,
    count(*) AS letters,
    count(DISTINCT customer_id) AS customers,
    min(created_at) AS first_at,
    max(created_at) AS last_at
   FROM public."DeadLetter"
  GROUP BY (((created_at AT TIME ZONE 'UTC'::text))::date), reason, status, provider, model;

CREATE VIEW public.job_charges AS
 SELECT asked.job,
    usage.customer_id,
    usage.id AS event_id,
    usage.credits_burned AS credits,
    usage.cost_usd,
    burn.id AS transaction_id,
    burn.wallet_id,
    usage.source_partition,
    usage.source_offset,
    usage.created_at
   FROM ((public."JobCharge" asked
     JOIN public."UsageEvent" usage ON (((usage.customer_id = asked.customer_id) AND (usage.id = asked.event_id) AND (usage.source_partition = asked.raw_partition) AND (usage.source_offset = asked.raw_offset))))
     LEFT JOIN public."CreditTransaction" burn ON (((burn.customer_id = usage.customer_id) AND (burn.usage_event_id = usage.id) AND (burn.transaction_type = 'BURN'::text) AND (burn.idempotency_key IS NULL))));

CREATE VIEW public.voids AS
 SELECT customer_id,
    event_id,
    voided_by,
    is_replaced,
    reason,
    requested_by,
    created_at
   FROM public."VoidedEvent";

ALTER TABLE ONLY public."AuditProof"
    ADD CONSTRAINT "AuditProof_pkey" PRIMARY KEY (topic, partition);

ALTER TABLE ONLY public."BurnTable"
    ADD CONSTRAINT "BurnTable_pkey" PRIMARY KEY (id);

ALTER TABLE ONLY public."CreditTransaction"
    ADD CONSTRAINT "CreditTransaction_chain" UNIQUE (wallet_id, wallet_seq);

ALTER TABLE ONLY public."CreditTransaction"
    ADD CONSTRAINT "CreditTransaction_pkey" PRIMARY KEY (id);

ALTER TABLE ONLY public."CreditWallet"
    ADD CONSTRAINT "CreditWallet_pkey" PRIMARY KEY (id);

ALTER TABLE ONLY public."Customer"
    ADD CONSTRAINT "Customer_api_key_hash_key" UNIQUE (api_key_hash);

ALTER TABLE ONLY public."Customer"
    ADD CONSTRAINT "Customer_email_key" UNIQUE (email);

ALTER TABLE ONLY public."Customer"
    ADD CONSTRAINT "Customer_pkey" PRIMARY KEY (id);

ALTER TABLE ONLY public."Customer"
    ADD CONSTRAINT "Customer_previous_api_key_hash_key" UNIQUE (previous_api_key_hash);

ALTER TABLE ONLY public."DeadLetter"
    ADD CONSTRAINT "DeadLetter_id_key" UNIQUE (id);

ALTER TABLE ONLY public."DeadLetter"
    ADD CONSTRAINT "DeadLetter_pkey" PRIMARY KEY (partition, epoch, "offset", index);

ALTER TABLE ONLY public."DuplicateEvent"
    ADD CONSTRAINT "DuplicateEvent_pkey" PRIMARY KEY (partition, epoch, "offset", index);

ALTER TABLE ONLY public."JobBackfill"
    ADD CONSTRAINT "JobBackfill_pkey" PRIMARY KEY (job, partition);

ALTER TABLE ONLY public."JobCharge"
    ADD CONSTRAINT "JobCharge_pkey" PRIMARY KEY (job, customer_id, event_id);

ALTER TABLE ONLY public."JobProgress"
    ADD CONSTRAINT "JobProgress_pkey" PRIMARY KEY (job, partition);

ALTER TABLE ONLY public."PriceHistoryBegin"
    ADD CONSTRAINT "PriceHistoryBegin_pkey" PRIMARY KEY (singleton);

ALTER TABLE ONLY public."PriceHistory"
    ADD CONSTRAINT "PriceHistory_pkey" PRIMARY KEY (id);

ALTER TABLE ONLY public."PriceRevision"
    ADD CONSTRAINT "PriceRevision_pkey" PRIMARY KEY (singleton);

ALTER TABLE ONLY public."ProviderCost"
    ADD CONSTRAINT "ProviderCost_pkey" PRIMARY KEY (id);

ALTER TABLE ONLY public."RatedBatch"
    ADD CONSTRAINT "RatedBatch_pkey" PRIMARY KEY (topic, partition, epoch, first_offset);

ALTER TABLE ONLY public."SchemaMigration"
    ADD CONSTRAINT "SchemaMigration_pkey" PRIMARY KEY (version);

ALTER TABLE ONLY public."SeededPrice"
    ADD CONSTRAINT "SeededPrice_pkey" PRIMARY KEY (id);

ALTER TABLE ONLY public."ServerSecret"
    ADD CONSTRAINT "ServerSecret_pkey" PRIMARY KEY (name);

ALTER TABLE ONLY public."SinkOffset"
    ADD CONSTRAINT "SinkOffset_pkey" PRIMARY KEY (topic, partition);

ALTER TABLE ONLY public."UsageEvent"
    ADD CONSTRAINT "UsageEvent_pkey" PRIMARY KEY (customer_id, id);

ALTER TABLE ONLY public."VoidedEvent"
    ADD CONSTRAINT "VoidedEvent_pkey" PRIMARY KEY (customer_id, event_id);

CREATE INDEX "CreditTransaction_created" ON public."CreditTransaction" USING brin (created_at);

CREATE UNIQUE INDEX "CreditTransaction_idempotency" ON public."CreditTransaction" USING btree (customer_id, idempotency_key) WHERE (idempotency_key IS NOT NULL);

CREATE INDEX "CreditTransaction_of_event" ON public."CreditTransaction" USING btree (customer_id, usage_event_id) WHERE ((idempotency_key IS NOT NULL) AND (usage_event_id IS NOT NULL));

CREATE INDEX "CreditWallet_customer" ON public."CreditWallet" USING btree (customer_id);

CREATE INDEX "DeadLetter_customer" ON public."DeadLetter" USING btree (customer_id, created_at);

CREATE INDEX "DeadLetter_event" ON public."DeadLetter" USING btree (event_id);

CREATE INDEX "DeadLetter_open" ON public."DeadLetter" USING btree (reason, created_at) WHERE (status = 'OPEN'::text);

CREATE INDEX "DuplicateEvent_event" ON public."DuplicateEvent" USING btree (customer_id, event_id);

CREATE INDEX "JobCharge_event" ON public."JobCharge" USING btree (customer_id, event_id);

CREATE INDEX "PriceHistory_price" ON public."PriceHistory" USING btree (price_table, price_id, revision, id);

CREATE INDEX "RatedBatch_created" ON public."RatedBatch" USING brin (created_at);

CREATE INDEX "UsageEvent_created" ON public."UsageEvent" USING brin (created_at);

CREATE INDEX "UsageEvent_day" ON public."UsageEvent" USING brin (((("timestamp" AT TIME ZONE 'UTC'::text))::date) date_minmax_multi_ops);

CREATE UNIQUE INDEX "UsageEvent_idempotency" ON public."UsageEvent" USING btree (customer_id, idempotency_key) WHERE (idempotency_key IS NOT NULL);

CREATE TRIGGER bump_price_revision BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public."BurnTable" FOR EACH STATEMENT EXECUTE FUNCTION public.bump_price_revision();

CREATE TRIGGER bump_price_revision BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public."ProviderCost" FOR EACH STATEMENT EXECUTE FUNCTION public.bump_price_revision();

CREATE TRIGGER keep_price AFTER INSERT OR DELETE OR UPDATE ON public."BurnTable" FOR EACH ROW EXECUTE FUNCTION public.keep_price();

CREATE TRIGGER keep_price AFTER INSERT OR DELETE OR UPDATE ON public."ProviderCost" FOR EACH ROW EXECUTE FUNCTION public.keep_price();

CREATE TRIGGER keep_price_truncated AFTER TRUNCATE ON public."BurnTable" FOR EACH STATEMENT EXECUTE FUNCTION public.keep_price();

CREATE TRIGGER keep_price_truncated AFTER TRUNCATE ON public."ProviderCost" FOR EACH STATEMENT EXECUTE FUNCTION public.keep_price();

CREATE TRIGGER stamp_price_revision BEFORE INSERT OR UPDATE ON public."BurnTable" FOR EACH ROW EXECUTE FUNCTION public.stamp_price_revision();

CREATE TRIGGER stamp_price_revision BEFORE INSERT OR UPDATE ON public."ProviderCost" FOR EACH ROW EXECUTE FUNCTION public.stamp_price_revision();

ALTER TABLE ONLY public."BurnTable"
    ADD CONSTRAINT "BurnTable_customer_id_fkey" FOREIGN KEY (customer_id) REFERENCES public."Customer"(id);

ALTER TABLE ONLY public."CreditWallet"
    ADD CONSTRAINT "CreditWallet_customer_id_fkey" FOREIGN KEY (customer_id) REFERENCES public."Customer"(id);

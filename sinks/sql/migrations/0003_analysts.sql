-- What analysts read: views over the ledger, by UTC day. `burnstream analyst create` lets a role read them.

-- The day of use. Rows come nearly in its order, so block ranges are enough: a question about some days reads
-- the pages of those days, and writing costs next to nothing. A late event widens no range (minmax_multi).
CREATE INDEX "UsageEvent_day" ON "UsageEvent"
    USING brin ((("timestamp" AT TIME ZONE 'UTC')::date) date_minmax_multi_ops);

-- Every charge, without its metadata and keys, which may name persons.
CREATE VIEW charges AS
SELECT
    id AS event_id, customer_id, user_id, team_id, ("timestamp" AT TIME ZONE 'UTC')::date AS day, "timestamp",
    event_type, provider, model, feature_id, input_tokens, output_tokens, image_count, image_size, quality,
    duration_seconds, resolution, quantity, unit_type, credits_burned AS credits, cost_usd, price_ids,
    source_partition, source_epoch, source_offset, source_index
FROM "UsageEvent";

CREATE VIEW burn_per_day AS
SELECT
    day, customer_id, event_type, provider, model, feature_id,
    count(*) AS events,
    sum(input_tokens)::bigint AS input_tokens,
    sum(output_tokens)::bigint AS output_tokens,
    sum(credits)::bigint AS credits,
    sum(cost_usd) AS cost_usd
FROM charges
GROUP BY day, customer_id, event_type, provider, model, feature_id;

-- A credit is 0.001 USD (schemas/pricing.py). Each event's credits are rounded up, and a customer may have
-- rates of its own: what is left above cost is the margin.
CREATE VIEW cost_against_credits AS
SELECT
    day, customer_id, provider, model,
    count(*) AS events,
    sum(cost_usd) AS cost_usd,
    sum(credits)::bigint AS credits,
    sum(credits) * 0.001 AS credits_usd,
    sum(credits) * 0.001 - sum(cost_usd) AS margin_usd
FROM charges
GROUP BY day, customer_id, provider, model;

-- Customers by how much more, or less, they burned on a day than on the day before.
CREATE FUNCTION top_movers(of_day date) RETURNS TABLE (
    customer_id text, credits bigint, credits_before bigint, change bigint
) LANGUAGE sql STABLE BEGIN ATOMIC
    SELECT customer_id, credits, credits_before, credits - credits_before
    FROM (
        SELECT
            customer_id,
            coalesce(sum(charges.credits) FILTER (WHERE day = of_day), 0)::bigint AS credits,
            coalesce(sum(charges.credits) FILTER (WHERE day < of_day), 0)::bigint AS credits_before
        FROM charges
        WHERE day BETWEEN of_day - 1 AND of_day
        GROUP BY customer_id
    ) AS burned
    ORDER BY abs(credits - credits_before) DESC, customer_id;
END;

CREATE VIEW dead_letters_by_reason AS
SELECT
    (created_at AT TIME ZONE 'UTC')::date AS day, reason, status, provider, model,
    count(*) AS letters,
    count(DISTINCT customer_id) AS customers,
    min(created_at) AS first_at,
    max(created_at) AS last_at
FROM "DeadLetter"
GROUP BY (created_at AT TIME ZONE 'UTC')::date, reason, status, provider, model;

-- As they are now.
CREATE VIEW balances AS
SELECT customer_id, id AS wallet_id, user_id, team_id, balance AS credits, expires_at
FROM "CreditWallet";

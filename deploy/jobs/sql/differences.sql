-- What each event that both ledgers charged has cost so far, corrections included, and what it should.
-- A burn has no index by its event; none is older than its event, and times are indexed by blocks.
CREATE TABLE {shadow}."Difference" AS
WITH cost AS MATERIALIZED (
    SELECT usage.customer_id, usage.id, usage.user_id, usage.team_id, usage.provider, usage.model, usage.timestamp,
        usage.credits_burned AS credits_billed, should.credits_burned AS credits_after,
        usage.cost_usd AS cost_billed, should.cost_usd AS cost_after, usage.created_at
    FROM {shadow}."UsageEvent" AS should
    JOIN {live}."UsageEvent" AS usage ON usage.customer_id = should.customer_id AND usage.id = should.id
    -- What is voided costs nothing, at any price.
    WHERE NOT EXISTS (
        SELECT FROM {live}."VoidedEvent" AS voided
        WHERE voided.customer_id = usage.customer_id AND voided.event_id = usage.id
    )
), paid AS (
    SELECT customer_id, usage_event_id, sum(amount)::bigint AS amount, min(wallet_id) AS wallet_id,
        min(id) FILTER (WHERE transaction_type = 'BURN' AND idempotency_key IS NULL) AS burn_id
    FROM {live}."CreditTransaction"
    WHERE usage_event_id IS NOT NULL AND created_at >= (SELECT min(created_at) FROM cost)
    GROUP BY customer_id, usage_event_id
)
SELECT cost.*, coalesce(-paid.amount, 0) AS credits_before, paid.wallet_id, paid.burn_id,
    EXISTS (
        SELECT FROM {live}."CreditTransaction" AS done
        WHERE done.customer_id = cost.customer_id AND done.idempotency_key = %(key)s || cost.id
    ) AS is_corrected
FROM cost
LEFT JOIN paid ON paid.customer_id = cost.customer_id AND paid.usage_event_id = cost.id

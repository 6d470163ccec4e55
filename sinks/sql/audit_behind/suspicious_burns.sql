-- Rows only where events and burns do not go together: then the rules say which, and why.
WITH pair AS MATERIALIZED (
    SELECT event.id AS event_id, event.credits_burned AS credits, burn.*
    FROM (
        SELECT customer_id, id, credits_burned FROM "UsageEvent" WHERE created_at >= %(since)s
    ) event
    FULL JOIN (
        SELECT id AS burn_id, customer_id AS burn_customer_id, usage_event_id, amount
        FROM "CreditTransaction"
        WHERE created_at >= %(since)s AND usage_event_id IS NOT NULL
            AND idempotency_key IS NULL -- else a correction
    ) burn ON burn_customer_id = event.customer_id AND usage_event_id = event.id
)
SELECT 'an event without its burn, or with another' AS what
FROM pair
WHERE event_id IS NOT NULL AND (burn_id IS NULL AND credits > 0 OR amount <> -credits)
UNION ALL
-- Of a transaction that began before, the burns alone are as young as this.
SELECT 'a burn without its event'
FROM pair
WHERE event_id IS NULL AND NOT EXISTS (
        SELECT FROM "UsageEvent" event
        WHERE event.customer_id = burn_customer_id AND event.id = usage_event_id
            AND event.credits_burned = -amount
    )
UNION ALL
SELECT 'an event with two burns'
FROM pair
HAVING count(burn_id) FILTER (WHERE event_id IS NOT NULL) > count(DISTINCT event_id) FILTER (WHERE credits > 0)
LIMIT 1

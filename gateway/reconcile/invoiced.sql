-- The ledger's sums of the invoice's days and providers beside its own. Of what the invoice does not
-- name (every row NULL) the sums are over all.
WITH named AS (
    SELECT bool_or(provider IS NOT NULL) AS provider, bool_or(model IS NOT NULL) AS model,
        bool_or(customer_id IS NOT NULL) AS customer, min(day) AS since, max(day) AS until
    FROM invoiced
), told AS (
    SELECT day, provider, model, customer_id, sum(cost_usd) AS cost_usd
    FROM invoiced GROUP BY 1, 2, 3, 4
), charged AS (
    SELECT (usage.timestamp AT TIME ZONE 'UTC')::date AS day,
        CASE WHEN named.provider THEN usage.provider END AS provider,
        CASE WHEN named.model THEN usage.model END AS model,
        CASE WHEN named.customer THEN usage.customer_id END AS customer_id,
        sum(usage.cost_usd) AS cost_usd
    FROM named JOIN "UsageEvent" AS usage
        ON (usage.timestamp AT TIME ZONE 'UTC')::date BETWEEN named.since AND named.until
    WHERE NOT named.provider OR usage.provider IN (SELECT provider FROM invoiced)
    GROUP BY 1, 2, 3, 4
    HAVING sum(usage.cost_usd) <> 0
)
SELECT day, provider, model, customer_id, sum(invoiced_usd) AS invoiced_usd, sum(charged_usd) AS charged_usd
FROM (
    SELECT day, provider, model, customer_id, cost_usd AS invoiced_usd, 0.0 AS charged_usd FROM told
    UNION ALL
    SELECT day, provider, model, customer_id, 0.0, cost_usd FROM charged
) AS both_sides
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4

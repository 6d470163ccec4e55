-- By customer, model and UTC day: as it was billed, as it stands, as it should have been.
SELECT customer_id, coalesce(provider, '') AS provider, coalesce(model, '') AS model,
    (timestamp AT TIME ZONE 'UTC')::date AS day, count(*) AS events,
    count(*) FILTER (WHERE credits_before <> credits_after AND NOT is_corrected) AS events_changed,
    sum(credits_billed)::bigint AS credits_billed, sum(credits_before)::bigint AS credits_before,
    sum(credits_after)::bigint AS credits_after, sum(credits_after - credits_before)::bigint AS credits_difference,
    sum(cost_billed) AS cost_usd_billed, sum(cost_after) AS cost_usd_after
FROM {shadow}."Difference"
GROUP BY customer_id, coalesce(provider, ''), coalesce(model, ''), (timestamp AT TIME ZONE 'UTC')::date
ORDER BY customer_id, provider, model, day

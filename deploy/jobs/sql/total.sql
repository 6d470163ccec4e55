SELECT count(*) AS events,
    count(*) FILTER (WHERE credits_before <> credits_after AND NOT is_corrected) AS events_changed,
    coalesce(sum(credits_billed), 0)::bigint AS credits_billed,
    coalesce(sum(credits_before), 0)::bigint AS credits_before,
    coalesce(sum(credits_after), 0)::bigint AS credits_after,
    coalesce(sum(cost_billed), 0) AS cost_usd_billed, coalesce(sum(cost_after), 0) AS cost_usd_after
FROM {shadow}."Difference"

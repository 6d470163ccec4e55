-- The time that a list is about: of what it says itself, else of what is charged of it.
SELECT coalesce(min(asked.at), min(usage.timestamp)) AS since,
    coalesce(max(asked.at), max(usage.timestamp)) AS until
FROM asked LEFT JOIN "UsageEvent" AS usage
    ON usage.customer_id = asked.customer_id AND usage.id = asked.id

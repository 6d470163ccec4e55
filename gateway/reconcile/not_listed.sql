-- Charged to the list's customers within its time, and not in it.
SELECT usage.customer_id, usage.id, usage.credits_burned, usage.cost_usd
FROM "UsageEvent" AS usage
WHERE usage.customer_id IN (SELECT DISTINCT customer_id FROM asked)
    AND usage.timestamp BETWEEN %(since)s AND %(until)s
    AND (usage.timestamp AT TIME ZONE 'UTC')::date -- the index is of days
        BETWEEN (%(since)s AT TIME ZONE 'UTC')::date AND (%(until)s AT TIME ZONE 'UTC')::date
    AND NOT EXISTS (
        SELECT FROM asked WHERE asked.customer_id = usage.customer_id AND asked.id = usage.id
    )
ORDER BY usage.timestamp, usage.customer_id, usage.id

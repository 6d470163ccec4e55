-- How many letters a filter names, by status and reason.
SELECT status, reason, count(*) AS letters
FROM "DeadLetter"
WHERE (%(status)s::text IS NULL OR status = %(status)s)
    AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(customer)s::text IS NULL OR customer_id = %(customer)s)
    AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
GROUP BY status, reason
ORDER BY status, reason

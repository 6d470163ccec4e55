-- Ids of the letters that a filter names, the oldest first; only those that an action is about.
SELECT id
FROM "DeadLetter"
WHERE status = ANY (%(statuses)s::text[])
    AND (%(status)s::text IS NULL OR status = %(status)s)
    AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(customer)s::text IS NULL OR customer_id = %(customer)s)
    AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
ORDER BY created_at, partition, epoch, "offset", index
LIMIT %(limit)s

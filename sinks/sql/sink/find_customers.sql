-- Locked against deletion until the end of the transaction: UsageEvent has no foreign key.
SELECT id
FROM "Customer"
WHERE id = ANY (%(customers)s::text[]) AND status <> 'CHURNED'
ORDER BY id
FOR KEY SHARE

SELECT id, customer_id, name, version, rules, valid_from, valid_until, created_at, revision
FROM "BurnTable"
WHERE id = ANY (%(ids)s::text[])
ORDER BY id

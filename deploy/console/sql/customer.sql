SELECT id, name, email, tier, status, created_at
FROM "Customer"
WHERE id = %(customer)s

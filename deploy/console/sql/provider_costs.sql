SELECT id, provider, model, cost_type, cost_per_unit, unit_size, currency, valid_from, valid_until, created_at, revision
FROM "ProviderCost"
WHERE id = ANY (%(ids)s::text[])
ORDER BY cost_type, id

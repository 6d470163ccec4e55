-- Times are brought within what a calendar date may be: 'infinity' is a valid valid_until here.
SELECT id, provider, model, cost_type, cost_per_unit::text AS cost_per_unit,
    unit_size::text AS unit_size, currency,
    LEAST(GREATEST(valid_from, '0001-01-02Z'), '9999-12-30Z') AS valid_from,
    CASE WHEN valid_until < '9999-12-30Z' THEN GREATEST(valid_until, '0001-01-02Z') END AS valid_until,
    LEAST(GREATEST(created_at, '0001-01-02Z'), '9999-12-30Z') AS created_at
FROM "ProviderCost"

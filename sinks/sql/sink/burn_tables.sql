SELECT id, customer_id, name, version::text AS version, rules,
    LEAST(GREATEST(valid_from, '0001-01-02Z'), '9999-12-30Z') AS valid_from,
    CASE WHEN valid_until < '9999-12-30Z' THEN GREATEST(valid_until, '0001-01-02Z') END AS valid_until,
    LEAST(GREATEST(created_at, '0001-01-02Z'), '9999-12-30Z') AS created_at
FROM "BurnTable"
WHERE is_active

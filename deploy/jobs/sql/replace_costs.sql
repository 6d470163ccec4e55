-- Rows of a price file instead of what is known of their provider, model and cost type.
WITH given AS (
    SELECT * FROM unnest(%(id)s::text[], %(provider)s::text[], %(model)s::text[], %(cost_type)s::text[],
        %(cost_per_unit)s::numeric[], %(unit_size)s::integer[], %(currency)s::text[],
        %(valid_from)s::timestamptz[], %(valid_until)s::timestamptz[])
        AS given (id, provider, model, cost_type, cost_per_unit, unit_size, currency, valid_from, valid_until)
), gone AS (
    DELETE FROM "ProviderCost" AS known USING given
    WHERE known.provider = given.provider AND known.model = given.model AND known.cost_type = given.cost_type
    RETURNING known.id
)
INSERT INTO "ProviderCost" (
    id, provider, model, cost_type, cost_per_unit, unit_size, currency, valid_from, valid_until
)
SELECT id, provider, model, cost_type, cost_per_unit, unit_size, currency, valid_from, valid_until
FROM given
WHERE (SELECT count(*) FROM gone) >= 0 -- first those must be gone

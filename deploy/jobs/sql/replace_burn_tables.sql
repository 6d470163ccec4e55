-- Burn tables of a file instead of all that are known of their customers.
WITH given AS (
    SELECT * FROM unnest(%(customer_id)s::text[], %(name)s::text[], %(rules)s::jsonb[],
        %(valid_from)s::timestamptz[], %(valid_until)s::timestamptz[])
        AS given (customer_id, name, rules, valid_from, valid_until)
), gone AS (
    DELETE FROM "BurnTable" AS known USING given WHERE known.customer_id = given.customer_id
    RETURNING known.id
)
INSERT INTO "BurnTable" (customer_id, name, rules, valid_from, valid_until)
SELECT customer_id, name, rules, valid_from, valid_until
FROM given
WHERE (SELECT count(*) FROM gone) >= 0 -- first those must be gone

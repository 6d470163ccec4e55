-- The rows of a table of prices as they were at a revision, into the job's own table of that name.
INSERT INTO {table}
SELECT known.*
FROM (
    SELECT DISTINCT ON (price_id) price
    FROM {history}
    WHERE price_table = {table_name} AND revision <= %(revision)s
    ORDER BY price_id, revision DESC, id DESC
) AS newest CROSS JOIN LATERAL jsonb_populate_record(NULL::{table}, price) AS known
WHERE price IS NOT NULL

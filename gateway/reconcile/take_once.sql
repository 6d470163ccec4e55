-- Of an event that is listed several times the first row counts.
CREATE TEMPORARY TABLE asked AS
SELECT DISTINCT ON (customer_id, id) * FROM told ORDER BY customer_id, id, row;
DROP TABLE told;
ALTER TABLE asked ADD PRIMARY KEY (customer_id, id);
ANALYZE asked;

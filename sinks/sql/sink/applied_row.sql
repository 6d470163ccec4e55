-- The row of the record of usage.rated that was applied so many records before the last one.
SELECT rated_offset, first_offset, next_offset, kind
FROM "RatedBatch"
WHERE topic = %(topic)s AND partition = %(partition)s
ORDER BY epoch DESC, first_offset DESC
OFFSET %(back)s LIMIT 1

-- One position of usage.raw has more than one outcome.
SELECT partition, epoch, "offset", index, string_agg(outcome, ', ' ORDER BY outcome) AS outcomes
FROM (
    SELECT source_partition AS partition, source_epoch AS epoch, source_offset AS "offset",
        source_index AS index, 'charged' AS outcome
    FROM "UsageEvent"
    WHERE %(since)s::timestamptz IS NULL OR created_at >= %(since)s
    UNION ALL
    SELECT partition, epoch, "offset", index, 'duplicate' FROM "DuplicateEvent"
    WHERE %(since)s::timestamptz IS NULL OR created_at >= %(since)s
    UNION ALL
    SELECT partition, epoch, "offset", index, 'dead letter' FROM "DeadLetter"
    WHERE %(since)s::timestamptz IS NULL OR created_at >= %(since)s
) entry
GROUP BY partition, epoch, "offset", index
HAVING count(*) > 1
ORDER BY 1, 2, 3, 4

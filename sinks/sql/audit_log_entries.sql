-- Entries per record of one partition in its present epoch, and the digest of a dead letter's payload.
SELECT entry."offset", count(*) AS entries, min(entry.digest) AS digest
FROM (
    SELECT source_partition AS partition, source_epoch AS epoch, source_offset AS "offset", NULL AS digest
    FROM "UsageEvent"
    UNION ALL
    SELECT partition, epoch, "offset", NULL FROM "DuplicateEvent"
    UNION ALL
    SELECT partition, epoch, "offset", md5(payload) FROM "DeadLetter"
) entry
WHERE entry.partition = %(partition)s AND entry.epoch = %(epoch)s AND entry."offset" >= %(first)s
GROUP BY entry."offset"
ORDER BY entry."offset"

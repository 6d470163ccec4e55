-- Letters whose replay was charged, or had been charged before: nothing is left to do for them.
UPDATE "DeadLetter" AS letter
SET status = 'REPLAYED', resolved_at = clock_timestamp(), resolved_by = 'sinks'
FROM unnest(
    %(partitions)s::integer[], %(epochs)s::integer[], %(offsets)s::bigint[], %(indexes)s::integer[]
) AS replayed (partition, epoch, "offset", index)
WHERE letter.partition = replayed.partition
    AND letter.epoch = replayed.epoch
    AND letter."offset" = replayed."offset"
    AND letter.index = replayed.index
    AND letter.status = 'OPEN'

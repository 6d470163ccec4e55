-- Letters whose replay was charged, or had been charged before: nothing is left to do for them.
-- A header of any producer names them, so only those of the same event of the same customer are closed.
UPDATE "DeadLetter" AS letter
SET status = 'REPLAYED', resolved_at = clock_timestamp(), resolved_by = 'sinks'
FROM unnest(
    %(customers)s::text[], %(events)s::text[], %(partitions)s::integer[], %(epochs)s::integer[],
    %(offsets)s::bigint[], %(indexes)s::integer[]
) AS replayed (customer_id, event_id, partition, epoch, "offset", index)
WHERE letter.partition = replayed.partition
    AND letter.epoch = replayed.epoch
    AND letter."offset" = replayed."offset"
    AND letter.index = replayed.index
    AND (letter.customer_id IS NULL OR letter.customer_id = replayed.customer_id)
    AND (letter.event_id IS NULL OR lower(letter.event_id) = replayed.event_id)
    AND letter.status = 'OPEN'

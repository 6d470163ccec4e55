-- The sinks may have closed the letter already: who did it first stays. Kafka does not always tell the place.
-- One that a person discarded meanwhile stays so, and says that its bytes were on their way.
UPDATE "DeadLetter" AS letter
SET status = CASE letter.status WHEN 'DISCARDED' THEN 'DISCARDED' ELSE 'REPLAYED' END,
    replays = replays + 1,
    replayed_as = sent.place,
    resolved_at = COALESCE(resolved_at, clock_timestamp()),
    resolved_by = COALESCE(resolved_by, 'price-publisher')
FROM unnest(
    %(partitions)s::integer[], %(epochs)s::integer[], %(offsets)s::bigint[], %(indexes)s::integer[],
    %(places)s::text[]
) AS sent (partition, epoch, "offset", index, place)
WHERE letter.partition = sent.partition
    AND letter.epoch = sent.epoch
    AND letter."offset" = sent."offset"
    AND letter.index = sent.index

-- A dead letter was replayed and its replay was applied, but nothing stands at that position: it is lost.
WITH replayed AS (
    SELECT id, customer_id, event_id, replayed_as, resolved_by,
        split_part(replayed_as, ':', 1)::integer AS partition,
        split_part(replayed_as, ':', 2)::bigint AS "offset"
    FROM "DeadLetter"
    WHERE status = 'REPLAYED' AND replayed_as IS NOT NULL
        AND (%(since)s::timestamptz IS NULL OR resolved_at >= %(since)s)
)
SELECT replayed.id, replayed.customer_id, replayed.event_id, replayed.replayed_as, replayed.resolved_by
FROM replayed
JOIN "SinkOffset" sink
    ON sink.partition = replayed.partition AND sink.next_offset > replayed."offset"
WHERE NOT EXISTS (
        SELECT FROM "UsageEvent" event
        WHERE event.source_partition = replayed.partition AND event.source_offset = replayed."offset"
    )
    AND NOT EXISTS (
        SELECT FROM "DuplicateEvent" duplicate
        WHERE duplicate.partition = replayed.partition AND duplicate."offset" = replayed."offset"
    )
    AND NOT EXISTS (
        SELECT FROM "DeadLetter" letter
        WHERE letter.partition = replayed.partition AND letter."offset" = replayed."offset"
    )
ORDER BY replayed.id

-- Dead letters of an event, as its producer may have spelled its id.
SELECT id, partition, epoch, "offset", index, customer_id, event_id, reason, message, status, replays, replayed_as,
    replay_of, found_by, created_at, resolved_at, resolved_by, resolved_reason, octet_length(payload) AS payload_bytes
FROM "DeadLetter"
WHERE event_id = ANY (%(spellings)s::text[])
    AND (%(customer)s::text IS NULL OR customer_id = %(customer)s)
ORDER BY created_at, partition, epoch, "offset", index
LIMIT %(limit)s

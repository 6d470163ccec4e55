-- A page of dead letters, the newest first, without their bytes.
SELECT id, partition, epoch, "offset", index, customer_id, event_id, provider, model, reason, message, status,
    replays, replayed_as, replay_of, found_by, created_at, resolved_at, resolved_by, resolved_reason,
    octet_length(payload) AS payload_bytes
FROM "DeadLetter"
WHERE (%(status)s::text IS NULL OR status = %(status)s)
    AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(customer)s::text IS NULL OR customer_id = %(customer)s)
    AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
ORDER BY created_at DESC, partition, epoch, "offset" DESC, index
LIMIT %(limit)s OFFSET %(skip)s

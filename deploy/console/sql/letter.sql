SELECT id, partition, epoch, "offset", index, customer_id, event_id, idempotency_key, provider, model, reason,
    message, payload, record_key, status, replay_of, replayed_as, found_by, replays, created_at, resolved_at,
    resolved_by, resolved_reason, octet_length(payload) AS payload_bytes
FROM "DeadLetter"
WHERE id = %(id)s

-- An event is voided that is not charged, or by a correction that is not in the ledger; or a refund names an event that nobody voided.
SELECT voided.customer_id, voided.event_id AS usage_event_id, voided.voided_by, NULL AS transaction_id
FROM "VoidedEvent" voided
LEFT JOIN "UsageEvent" original
    ON original.customer_id = voided.customer_id AND original.id = voided.event_id
LEFT JOIN "UsageEvent" correction
    ON correction.customer_id = voided.customer_id AND correction.id = voided.voided_by
WHERE (original.id IS NULL OR correction.id IS NULL)
    AND (%(since)s::timestamptz IS NULL OR voided.created_at >= %(since)s)
UNION ALL
SELECT refund.customer_id, refund.usage_event_id, NULL, refund.id
FROM "CreditTransaction" refund
LEFT JOIN "VoidedEvent" voided
    ON voided.customer_id = refund.customer_id AND voided.event_id = refund.usage_event_id
WHERE refund.idempotency_key LIKE 'void:%%' AND refund.usage_event_id IS NOT NULL AND voided.event_id IS NULL
    AND (%(since)s::timestamptz IS NULL OR refund.created_at >= %(since)s)
ORDER BY 1, 2

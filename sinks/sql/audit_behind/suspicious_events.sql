-- Rows only where batches count other events than there are, or a customer is gone.
WITH record AS MATERIALIZED (
    SELECT source_partition, source_epoch, source_offset, count(*) AS events
    FROM "UsageEvent"
    WHERE created_at >= %(since)s
    GROUP BY 1, 2, 3
), batch AS MATERIALIZED (
    SELECT partition, epoch, first_offset, next_offset, kind, charged
    FROM "RatedBatch"
    WHERE created_at >= %(since)s
), held AS (
    -- Of positions in order, the batch of a record is the last one that starts at or below it.
    SELECT partition, epoch, batch, max(charged) AS charged, max(next_offset) AS next_offset,
        sum(events) AS events, max(place) FILTER (WHERE events IS NOT NULL) AS last_offset
    FROM (
        SELECT *, count(charged) OVER (PARTITION BY partition, epoch ORDER BY place, is_record) AS batch
        FROM (
            SELECT partition, epoch, first_offset AS place, false AS is_record, charged,
                CASE kind WHEN 'new-epoch' THEN 0 ELSE next_offset END AS next_offset, NULL AS events
            FROM batch
            UNION ALL
            SELECT source_partition, source_epoch, source_offset, true, NULL, NULL, events FROM record
        ) place
    ) numbered
    GROUP BY 1, 2, 3
)
SELECT 'events of a batch' AS what
FROM held
WHERE charged IS DISTINCT FROM coalesce(events, 0) OR last_offset >= next_offset
UNION ALL
SELECT 'customer'
FROM (SELECT DISTINCT customer_id FROM "UsageEvent" WHERE created_at >= %(since)s) payer
WHERE NOT EXISTS (SELECT FROM "Customer" customer WHERE customer.id = payer.customer_id)
LIMIT 1

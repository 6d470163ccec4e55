-- Open letters that wait for a price, or for nothing but their replay, oldest first, behind a given
-- one. The replay of a replay waits: the streams follow the prices with a delay, and must not be chased.
SELECT partition, epoch, "offset", index, customer_id, record_key, payload, created_at
FROM "DeadLetter"
WHERE reason IN ('UNPRICED', 'ORIGINAL_NOT_CHARGED') AND status = 'OPEN'
    AND (replay_of IS NULL OR created_at < now() - interval '10 s')
    AND (created_at, partition, epoch, "offset", index)
        > (
            %(created_at)s::timestamptz, %(partition)s::integer, %(epoch)s::integer,
            %(offset)s::bigint, %(index)s::integer
        )
ORDER BY created_at, partition, epoch, "offset", index
LIMIT %(limit)s

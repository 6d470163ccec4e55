-- What the log decides, of both ledgers, within the span: one row per charge, letter and duplicate.
-- Not in it: running balances, times of writing, and what the customers' rows of a day decided (letters of
-- the sinks). An event counts wherever in the live ledger it is charged, so one that was charged by a
-- replay of its letter is no difference.
WITH span AS (
    SELECT * FROM unnest(%(partitions)s::integer[], %(epochs)s::integer[], %(firsts)s::bigint[], %(ends)s::bigint[])
        AS span (partition, epoch, first, following)
), charged_shadow AS (
    SELECT usage.* FROM {shadow}."UsageEvent" AS usage
), charged_live AS (
    SELECT usage.* FROM {live}."UsageEvent" AS usage
    JOIN span ON usage.source_partition = span.partition AND usage.source_epoch = span.epoch
        AND usage.source_offset >= span.first AND usage.source_offset < span.following
    WHERE %(is_of_raw)s
        AND (%(customers)s::text[] = '{{}}' OR usage.customer_id = ANY (%(customers)s))
        AND (%(models)s::text[] = '{{}}' OR usage.model = ANY (%(models)s))
        AND (%(features)s::text[] = '{{}}' OR usage.feature_id = ANY (%(features)s))
    UNION
    SELECT usage.* FROM {live}."UsageEvent" AS usage
    JOIN charged_shadow AS same ON same.customer_id = usage.customer_id AND same.id = usage.id
), live AS (
    SELECT source_partition AS partition, customer_id, 'charged' AS verdict, id::text AS key, {facts} AS facts
    FROM charged_live AS usage
    UNION ALL {live_letters}
), shadow AS (
    SELECT source_partition AS partition, customer_id, 'charged' AS verdict, id::text AS key, {facts} AS facts
    FROM charged_shadow AS usage
    UNION ALL {shadow_letters}
)
SELECT
    coalesce(live.partition, shadow.partition) AS partition,
    coalesce(live.customer_id, shadow.customer_id) AS customer_id,
    coalesce(live.verdict, shadow.verdict) AS verdict,
    coalesce(live.key, shadow.key) AS key,
    live.facts AS live,
    shadow.facts AS shadow
FROM live
FULL JOIN shadow ON live.customer_id = shadow.customer_id AND live.verdict = shadow.verdict
    AND live.key = shadow.key

-- What the audit looked at, by the batches' own counts.
SELECT count(*) AS batches,
    coalesce(sum(charged), 0)::bigint AS charged,
    coalesce(sum(duplicates), 0)::bigint AS duplicates,
    coalesce(sum(conflicts), 0)::bigint AS conflicts,
    coalesce(sum(dead_letters), 0)::bigint AS dead_letters,
    coalesce(sum(refused), 0)::bigint AS refused
FROM "RatedBatch"

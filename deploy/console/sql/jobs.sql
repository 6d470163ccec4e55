-- Jobs that are there, newest first, with what all their partitions add up to. A job whose processes said
-- nothing for ten seconds is not at work.
SELECT job, count(*) AS partitions, sum(next_offset - first_offset)::bigint AS positions,
    sum(rated_to - first_offset)::bigint AS rated, sum(applied_to - first_offset)::bigint AS applied,
    min(begun_at) AS begun_at, max(told_at) AS told_at, bool_and(applied_to = next_offset) AS is_done,
    max(told_at) > now() - interval '10 s' AND NOT bool_and(applied_to = next_offset) AS is_at_work,
    max(seconds_left) FILTER (WHERE told_at > now() - interval '10 s' AND applied_to < next_offset)
        AS seconds_left
FROM "JobProgress"
GROUP BY job
ORDER BY min(begun_at) DESC, job
LIMIT %(limit)s

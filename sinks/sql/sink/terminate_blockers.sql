-- Ends the sinks that a backend has waited for too long, where they are not waiting for somebody themselves.
SELECT DISTINCT blocker.pid, pg_terminate_backend(blocker.pid)
FROM pg_locks AS waiting
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS by (pid)
JOIN pg_stat_activity AS blocker ON blocker.pid = by.pid
WHERE waiting.pid = %(pid)s
    AND NOT waiting.granted
    AND waiting.waitstart < clock_timestamp() - make_interval(secs => %(seconds)s)
    AND blocker.application_name = %(application)s
    AND cardinality(pg_blocking_pids(blocker.pid)) = 0

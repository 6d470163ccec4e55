-- What became of the events that a job wrote: charged by its records, by others', not yet.
SELECT count(ours.event_id), coalesce(sum(ours.credits), 0),
    count(charged.id) - count(ours.event_id), count(*) - count(charged.id)
FROM "JobCharge" AS asked
LEFT JOIN "UsageEvent" AS charged
    ON charged.customer_id = asked.customer_id AND charged.id = asked.event_id
LEFT JOIN job_charges AS ours
    ON ours.job = asked.job AND ours.customer_id = asked.customer_id
    AND ours.event_id = asked.event_id
WHERE asked.job = %s

-- Ends the sinks that hold the rows of these partitions: xmax of a locked row is its holder's transaction.
SELECT holder.pid, pg_terminate_backend(holder.pid)
FROM "SinkOffset" AS held
JOIN pg_stat_activity AS holder ON holder.backend_xid = held.xmax
WHERE held.topic = %(topic)s
    AND held.partition = ANY (%(partitions)s::integer[])
    AND holder.application_name = %(application)s
    AND holder.pid <> pg_backend_pid()

-- One leader per topic; the lock ends with the session.
SELECT pg_try_advisory_lock(hashtextextended('burnstream price publisher ' || %(topic)s, 0))

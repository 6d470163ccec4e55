-- One auditor per topic; the lock ends with the session.
SELECT pg_try_advisory_lock(hashtextextended('burnstream audit ' || %(topic)s, 0))

-- What a frozen or unreachable worker may hold, and for how long, is bounded here.
BEGIN;
SET LOCAL synchronous_commit = on;
SET LOCAL lock_timeout = '60s';
SET LOCAL idle_in_transaction_session_timeout = '10s';

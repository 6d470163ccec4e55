"""A small healthy ledger as the sinks would leave it: two customers, two partitions, every outcome.

Partition 0, epoch 0: batches [0,3) and [3,6): two charged events, a duplicate of the first, a
conflict by key and a free event, an unpriced letter, and that letter's replay, charged.
Partition 1: batch [0,2) with a refused event and its duplicate, an accepted hole [2,4), then a new
epoch from offset 1 with batch [1,3) and a discarded letter.
"""

from typing import Any

import psycopg

_SETUP = b"""
INSERT INTO "Customer" (id, name, email, api_key_hash)
VALUES ('c1', 'One', 'one@example.com', 'h1'), ('c2', 'Two', 'two@example.com', 'h2');
INSERT INTO "CreditWallet" (id, customer_id, balance, last_seq, created_at)
VALUES ('w1', 'c1', 955, 3, '2025-01-01'), ('w2', 'c2', -15, 1, '2025-01-01');

INSERT INTO "UsageEvent" (id, customer_id, event_type, feature_id, credits_burned, cost_usd,
    idempotency_key, timestamp, source_partition, source_epoch, source_offset, source_index)
VALUES
    ('00000000000040008000000000000000', 'c1', 'CUSTOM', '', 15, 0.015, 'k0', now(), 0, 0, 0, 0),
    ('00000000000040008000000000000001', 'c1', 'CUSTOM', '', 30, 0.03, NULL, now(), 0, 0, 1, 0),
    ('00000000000040008000000000000003', 'c2', 'CUSTOM', '', 15, 0.015, NULL, now(), 0, 0, 5, 0),
    ('00000000000040008000000000000004', 'c1', 'API_CALL', '', 0, 0.0, NULL, now(), 0, 0, 3, 1),
    ('00000000000040008000000000000005', 'c2', 'API_CALL', '', 0, 0.0, NULL, now(), 1, 0, 1, 0),
    ('00000000000040008000000000000006', 'c2', 'API_CALL', '', 0, 0.0, NULL, now(), 1, 1, 1, 0);

INSERT INTO "DuplicateEvent" (partition, epoch, "offset", index, customer_id, event_id,
    idempotency_key, of_partition, of_offset, of_index, found_by)
VALUES
    (0, 0, 2, 0, 'c1', '00000000000040008000000000000000', NULL, 0, 0, 0, 'seen'),
    -- Another event under a key that is charged.
    (0, 0, 3, 0, 'c1', '00000000000040008000000000000009', 'k0', NULL, NULL, NULL, 'conflict'),
    -- The first one was refused by the sink, and waits as a letter.
    (1, 0, 1, 1, 'c3', '00000000000040008000000000000007', NULL, 1, 0, 0, 'seen');

INSERT INTO "DeadLetter" (partition, epoch, "offset", index, customer_id, event_id, reason, message,
    payload, status, found_by, replays, replayed_as, resolved_at, resolved_by)
VALUES
    (0, 0, 4, 0, 'c2', '00000000-0000-4000-8000-000000000003', 'UNPRICED', 'no price', '{}',
        'REPLAYED', 'streams', 1, '0:5', now(), 'tester'),
    (1, 0, 0, 0, 'c3', '00000000-0000-4000-8000-000000000007', 'UNKNOWN_CUSTOMER', 'unknown',
        '{}', 'OPEN', 'sinks', 0, NULL, NULL, NULL),
    (1, 1, 2, 0, NULL, NULL, 'NOT_JSON', 'no json', '\\xff00',
        'DISCARDED', 'streams', 0, NULL, now(), 'tester');

INSERT INTO "CreditTransaction" (id, wallet_id, customer_id, transaction_type, amount,
    balance_before, balance_after, usage_event_id, wallet_seq, created_at)
VALUES
    ('txn-1', 'w1', 'c1', 'BURN', -15, 1000, 985, '00000000000040008000000000000000', 1, now()),
    ('txn-2', 'w1', 'c1', 'BURN', -30, 985, 955, '00000000000040008000000000000001', 2,
        now() + interval '1 microsecond'),
    ('txn-3', 'w2', 'c2', 'BURN', -15, 0, -15, '00000000000040008000000000000003', 1, now());
UPDATE "CreditWallet" SET last_seq = 2 WHERE id = 'w1';

INSERT INTO "RatedBatch" (topic, partition, epoch, first_offset, next_offset, rated_offset, kind,
    charged, duplicates, conflicts, dead_letters, refused, reason, decided_by)
VALUES
    ('usage.raw', 0, 0, 0, 3, 0, 'rated', 2, 1, 0, 0, 0, NULL, NULL),
    ('usage.raw', 0, 0, 3, 6, 1, 'rated', 2, 0, 1, 1, 0, NULL, NULL),
    ('usage.raw', 1, 0, 0, 2, 0, 'rated', 1, 1, 0, 0, 1, NULL, NULL),
    ('usage.raw', 1, 0, 2, 4, 1, 'hole', 0, 0, 0, 0, 0, 'retention passed', 'tester'),
    ('usage.raw', 1, 0, 4, 1, 2, 'new-epoch', 0, 0, 0, 0, 0, 'log was made again', 'tester'),
    ('usage.raw', 1, 1, 1, 3, 3, 'rated', 1, 0, 0, 1, 0, NULL, NULL);
INSERT INTO "SinkOffset" (topic, partition, epoch, next_offset, rated_offset, max_broker_time)
VALUES ('usage.raw', 0, 0, 6, 2, 1), ('usage.raw', 1, 1, 3, 4, 1);
"""


def build(connection: psycopg.Connection[Any]) -> None:
    """Write the ledger into an empty, migrated database, in one transaction."""
    with connection.transaction():
        connection.execute(_SETUP)

"""Each kind of discrepancy is planted in a healthy ledger and is named, and nothing else is."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from sinks.audit import audit, load_rules
from tests.integration.operations import small_ledger

Connection = psycopg.Connection[Any]


@pytest.fixture
def ledger(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        small_ledger.build(connection)
        yield connection


CORRECTION = """
INSERT INTO "CreditTransaction" (id, wallet_id, customer_id, transaction_type, amount,
    balance_before, balance_after, usage_event_id, wallet_seq, created_at, metadata,
    idempotency_key)
VALUES ('txn-9', 'w1', 'c1', 'REFUND', 10, 955, 965, '00000000-0000-4000-8000-000000000001', 3,
    now() + interval '1 s', '{"job": "june", "corrects": "CORRECTS", "credits": CREDITS}',
    'reprice:JOB:00000000-0000-4000-8000-000000000001');
UPDATE "CreditWallet" SET balance = 965, last_seq = 3 WHERE id = 'w1'
"""


def corrected(corrects: str, credits_after: int, job: str = "june") -> str:
    """A correction of c1's second event, which cost 30 credits: 10 are given back."""
    text = CORRECTION.replace("CORRECTS", corrects).replace("CREDITS", str(credits_after))
    return text.replace("JOB", job)


VOIDED = """
INSERT INTO "VoidedEvent" (customer_id, event_id, voided_by, is_replaced, reason)
VALUES ('c1', '00000000-0000-4000-8000-0000000000EVENT', '00000000-0000-4000-8000-000000000004',
    false, 'a test')
"""


# What is done to the ledger -> every code that it must be called by.
PLANTED: dict[str, tuple[str, set[str]]] = {
    "a rated batch is lost": (
        'DELETE FROM "RatedBatch" WHERE partition = 0 AND first_offset = 0',
        {"BATCH_HOLE", "CHARGED_COUNT", "DUPLICATE_COUNT"},
    ),
    "batches overlap": (
        'UPDATE "RatedBatch" SET next_offset = 4 WHERE partition = 0 AND first_offset = 0',
        {"BATCH_OVERLAP"},
    ),
    "an epoch goes on after its end": (
        (
            'INSERT INTO "RatedBatch" (topic, partition, epoch, first_offset, next_offset, '
            "rated_offset) VALUES ('usage.raw', 1, 0, 5, 6, 9)"
        ),
        {"BATCH_AFTER_EPOCH_END", "BATCH_HOLE"},
    ),
    "an epoch began without a decision": (
        "DELETE FROM \"RatedBatch\" WHERE kind = 'new-epoch'",
        {"BATCH_AFTER_EPOCH_END", "BATCH_HOLE"},
    ),
    "the last batch is lost": (
        'DELETE FROM "RatedBatch" WHERE partition = 0 AND first_offset = 3',
        {"OFFSET_DISAGREES", "CHARGED_COUNT", "DUPLICATE_COUNT", "DEAD_LETTER_COUNT"},
    ),
    "the position ran ahead": (
        'UPDATE "SinkOffset" SET next_offset = 7 WHERE partition = 0',
        {"OFFSET_DISAGREES"},
    ),
    "the position is of another epoch": (
        'UPDATE "SinkOffset" SET epoch = 2 WHERE partition = 1',
        {"OFFSET_DISAGREES"},
    ),
    "a free event's row is lost": (
        'DELETE FROM "UsageEvent" WHERE source_partition = 1 AND source_epoch = 0',
        {"CHARGED_COUNT"},
    ),
    "a charged event's row is lost": (
        'DELETE FROM "UsageEvent" WHERE source_partition = 0 AND source_offset = 1',
        {"CHARGED_COUNT", "TRANSACTION_WITHOUT_EVENT"},
    ),
    "a row beyond all batches": (
        'UPDATE "UsageEvent" SET source_offset = 6 WHERE source_offset = 5',
        {"CHARGED_COUNT", "REPLAY_VANISHED"},
    ),
    "a row of a partition that nobody applied": (
        'UPDATE "UsageEvent" SET source_partition = 7 WHERE source_partition > source_epoch',
        {"CHARGED_COUNT"},
    ),
    "a duplicate's row is lost": (
        'DELETE FROM "DuplicateEvent" WHERE partition = 0 AND "offset" = 2',
        {"DUPLICATE_COUNT"},
    ),
    "a conflict is called a duplicate": (
        "UPDATE \"DuplicateEvent\" SET found_by = 'seen' WHERE found_by = 'conflict'",
        {"DUPLICATE_COUNT"},
    ),
    "a dead letter is lost": (
        'DELETE FROM "DeadLetter" WHERE partition = 1 AND epoch = 1',
        {"DEAD_LETTER_COUNT"},
    ),
    "a refusal is called a dead letter": (
        "UPDATE \"DeadLetter\" SET found_by = 'streams' WHERE found_by = 'sinks'",
        {"DEAD_LETTER_COUNT"},
    ),
    "one position has two outcomes": (
        'UPDATE "UsageEvent" SET source_index = 0 WHERE source_offset = 3',
        {"POSITION_TWICE"},
    ),
    "a duplicate of nothing": (
        (
            "UPDATE \"DuplicateEvent\" SET event_id = '00000000-0000-4000-8000-0000000000ff' "
            "WHERE found_by = 'seen' AND partition = 0"
        ),
        {"DUPLICATE_OF_NOTHING"},
    ),
    "a duplicate of another customer's event": (
        "UPDATE \"DuplicateEvent\" SET customer_id = 'c2' WHERE found_by = 'conflict'",
        {"DUPLICATE_OF_NOTHING"},
    ),
    "a duplicate of a letter whose replay came to nothing": (
        (
            "UPDATE \"DeadLetter\" SET status = 'REPLAYED', replayed_as = '0:99', "
            "resolved_at = now(), resolved_by = 'tester' WHERE found_by = 'sinks'; "
            'UPDATE "RatedBatch" SET next_offset = 100 WHERE partition = 0 AND first_offset = 3; '
            'UPDATE "SinkOffset" SET next_offset = 100 WHERE partition = 0'
        ),
        {"DUPLICATE_OF_NOTHING", "REPLAY_LOST", "REPLAY_VANISHED"},
    ),
    "a replay came to nothing": (
        (
            "UPDATE \"DeadLetter\" SET replayed_as = '1:2' WHERE status = 'REPLAYED'; "
            'UPDATE "DeadLetter" SET "offset" = 1, index = 1 WHERE epoch = 1'
        ),
        {"REPLAY_VANISHED"},
    ),
    "a replay's offset was used again by another event": (
        (
            "UPDATE \"DeadLetter\" SET event_id = '00000000-0000-4000-8000-0000000000fe' "
            "WHERE status = 'REPLAYED'"
        ),
        {"REPLAY_LOST"},
    ),
    "the sinks closed a letter whose event is not charged": (
        (
            "UPDATE \"DeadLetter\" SET status = 'REPLAYED', resolved_at = now(), "
            "resolved_by = 'sinks' WHERE found_by = 'sinks'"
        ),
        {"REPLAY_LOST"},
    ),
    "a burn is lost": (
        "DELETE FROM \"CreditTransaction\" WHERE id = 'txn-3'",
        {"BURN_MISSING", "WALLET_LAST_SEQ"},
    ),
    "an event is burned twice": (
        (
            'INSERT INTO "CreditTransaction" (wallet_id, customer_id, transaction_type, amount, '
            "balance_before, balance_after, usage_event_id, wallet_seq) SELECT wallet_id, "
            "customer_id, transaction_type, amount, balance_after, balance_after + amount, "
            "usage_event_id, 2 FROM \"CreditTransaction\" WHERE id = 'txn-3'; "
            "UPDATE \"CreditWallet\" SET balance = -30, last_seq = 2 WHERE id = 'w2'"
        ),
        {"BURN_TWICE"},
    ),
    "a burn of another amount": (
        "UPDATE \"UsageEvent\" SET credits_burned = 16 WHERE idempotency_key = 'k0'",
        {"BURN_AMOUNT"},
    ),
    "a free event is burned": (
        "UPDATE \"UsageEvent\" SET credits_burned = 0 WHERE idempotency_key = 'k0'",
        {"BURN_AMOUNT"},
    ),
    "a burn in another customer's wallet": (
        "UPDATE \"CreditWallet\" SET customer_id = 'c2' WHERE id = 'w1'",
        {"TRANSACTION_WITHOUT_WALLET"},
    ),
    "a wallet is gone": (
        "DELETE FROM \"CreditWallet\" WHERE id = 'w2'",
        {"TRANSACTION_WITHOUT_WALLET"},
    ),
    "a burn names another customer": (
        "UPDATE \"CreditTransaction\" SET customer_id = 'c2' WHERE id = 'txn-1'",
        {"BURN_MISSING", "TRANSACTION_WITHOUT_EVENT", "TRANSACTION_WITHOUT_WALLET"},
    ),
    "a customer is gone": (
        "UPDATE \"UsageEvent\" SET customer_id = 'gone' WHERE source_epoch = 1",
        {"USAGE_WITHOUT_CUSTOMER"},
    ),
    "a chain misses a link": (
        (
            'UPDATE "CreditTransaction" SET wallet_seq = 3 WHERE wallet_seq = 2; '
            "UPDATE \"CreditWallet\" SET last_seq = 3 WHERE id = 'w1'"
        ),
        {"CHAIN_GAP"},
    ),
    "a chain starts from another balance": (
        (
            'UPDATE "CreditTransaction" SET balance_before = 984, balance_after = 954 '
            "WHERE wallet_seq = 2; UPDATE \"CreditWallet\" SET balance = 954 WHERE id = 'w1'"
        ),
        {"CHAIN_BALANCE"},
    ),
    "a chain's times stand still": (
        (
            'UPDATE "CreditTransaction" entry SET created_at = first.created_at '
            "FROM \"CreditTransaction\" first WHERE first.id = 'txn-1' AND entry.id = 'txn-2'"
        ),
        {"CHAIN_TIME"},
    ),
    "a balance was set by hand": (
        "UPDATE \"CreditWallet\" SET balance = balance + 1 WHERE id = 'w2'",
        {"WALLET_BALANCE"},
    ),
    "a correction comes to another sum": (corrected("txn-2", 19), {"CORRECTION_AMOUNT"}),
    "a correction is of another's burn": (corrected("txn-3", 20), {"CORRECTION_OF_NOTHING"}),
    "a correction is of another job": (
        corrected("txn-2", 20, "july"),
        {"CORRECTION_OF_NOTHING"},
    ),
    "a burn has a key of nobody's": (
        corrected("txn-2", 20).replace("'reprice:june:", "'x"),
        {"CORRECTION_OF_NOTHING"},
    ),
    "a voided event is not given back": (
        VOIDED.replace("EVENT", "01"),
        {"VOID_NOT_REFUNDED"},
    ),
    "an event is voided that is not charged": (
        VOIDED.replace("EVENT", "08"),
        {"VOID_OF_NOTHING"},
    ),
    "a refund names an event that nobody voided": (
        corrected("txn-2", 20).replace("reprice:june:", "void:"),
        {"VOID_OF_NOTHING"},
    ),
    "a wallet miscounts": (
        "UPDATE \"CreditWallet\" SET last_seq = 5 WHERE id = 'w2'",
        {"WALLET_LAST_SEQ"},
    ),
}


def test_healthy_ledger_is_clean(ledger: Connection) -> None:
    """A ledger with every outcome, a hole and two epochs is clean; the decisions are printed."""
    report = audit(ledger)
    assert report.discrepancies == []
    assert [row["kind"] for row in report.decisions] == ["hole", "new-epoch"]
    assert report.decisions[0]["reason"] == "retention passed"
    assert (report.totals["charged"], report.totals["refused"]) == (6, 1)


def test_a_correction_is_no_second_burn(ledger: Connection) -> None:
    """What a repricing wrote belongs to its burn."""
    ledger.execute(corrected("txn-2", 20).encode())
    assert audit(ledger).discrepancies == []


def test_empty_ledger_is_clean(database_url: str) -> None:
    """Nothing at all, and positions at 0, are no discrepancy."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert audit(connection).is_clean
        connection.execute("INSERT INTO \"SinkOffset\" (topic, partition) VALUES ('usage.raw', 0)")
        assert audit(connection).is_clean


@pytest.mark.parametrize("name", PLANTED)
def test_planted_discrepancy_is_named(ledger: Connection, name: str) -> None:
    """What is wrong is named by its codes, with a message and an example, and nothing else is."""
    change, codes = PLANTED[name]
    ledger.execute(change.encode())
    report = audit(ledger)
    assert {one.code for one in report.discrepancies} == codes
    for one in report.discrepancies:
        assert one.message.endswith((".", ")", "..."))
        assert 1 <= len(one.examples) <= one.count


def test_every_rule_is_planted() -> None:
    """No rule goes untried."""
    tried = set().union(*(codes for _, codes in PLANTED.values()))
    assert tried == {rule.code for rule in load_rules()}


def test_opening_balance_needs_no_transaction(ledger: Connection) -> None:
    """A wallet inserted with a balance, as the guide does, is healthy before its first burn."""
    ledger.execute(
        "INSERT INTO \"CreditWallet\" (id, customer_id, balance) VALUES ('w3', 'c1', 1000000)"
    )
    assert audit(ledger).is_clean


def test_replay_in_flight_is_no_discrepancy(ledger: Connection) -> None:
    """A letter replayed beyond what is applied still stands for its duplicates."""
    ledger.execute(
        b"UPDATE \"DeadLetter\" SET status = 'REPLAYED', replayed_as = '0:6', resolved_at = now(), "
        b"resolved_by = 'tester' WHERE found_by = 'sinks'"
    )
    assert audit(ledger).is_clean


def test_replay_that_is_a_letter_again_is_no_discrepancy(ledger: Connection) -> None:
    """An event that its replay did not charge either is not lost: the new letter has it."""
    ledger.execute(
        b"UPDATE \"DeadLetter\" SET status = 'REPLAYED', replayed_as = '0:4', resolved_at = now(), "
        b"resolved_by = 'tester' WHERE found_by = 'sinks'; "
        b"UPDATE \"DeadLetter\" SET replay_of = '1:0:0:0', status = 'OPEN', customer_id = 'c3', "
        b"event_id = '00000000-0000-4000-8000-000000000007' WHERE partition = 0"
    )
    assert audit(ledger).is_clean
    ledger.execute('UPDATE "DeadLetter" SET replay_of = NULL')
    assert [one.code for one in audit(ledger).discrepancies] == ["REPLAY_LOST"]


def test_examples_are_few_and_the_count_is_whole(ledger: Connection) -> None:
    """Of many places the first five are shown and all are counted."""
    ledger.execute("UPDATE \"UsageEvent\" SET customer_id = 'gone'")
    found = {one.code: one for one in audit(ledger).discrepancies}["USAGE_WITHOUT_CUSTOMER"]
    assert (found.count, len(found.examples)) == (6, 5)


def test_bound_leaves_out_what_is_older(ledger: Connection) -> None:
    """A bounded audit looks at what was written since: new mistakes are found, old ones are not."""
    ledger.execute('DELETE FROM "UsageEvent" WHERE source_partition = 1 AND source_epoch = 0')
    assert not audit(ledger).is_clean
    later = datetime.now(UTC) + timedelta(seconds=1)
    assert audit(ledger, since=later).is_clean
    earlier = datetime.now(UTC) - timedelta(hours=1)
    assert [one.code for one in audit(ledger, since=earlier).discrepancies] == ["CHARGED_COUNT"]

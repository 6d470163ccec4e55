"""The audit behind the sinks: what is new is proven, merged, and named where it is wrong."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sinks.audit_behind import look
from tests.integration.operations import small_ledger
from tests.integration.operations.test_audit import PLANTED

Connection = psycopg.Connection[Any]
TOPIC = "usage.raw"


@pytest.fixture
def ledger(database_url: str) -> Iterator[Connection]:
    """A healthy ledger of which nothing is proven yet."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        small_ledger.build(connection)
        connection.execute(
            'INSERT INTO "AuditProof" (topic, partition, epoch, next_offset)'
            " VALUES ('usage.raw', 0, 0, 0), ('usage.raw', 1, 0, 0)"
        )
        yield connection


def proofs(connection: Connection) -> list[tuple[Any, ...]]:
    """How far each partition is proven, and the batches and charged events behind it."""
    query = (
        'SELECT partition, epoch, next_offset, batches, charged FROM "AuditProof"'
        " ORDER BY partition"
    )
    return connection.execute(query).fetchall()


NOTHING_PROVEN = [(0, 0, 0, 0, 0), (1, 0, 0, 0, 0)]
ALL_PROVEN = [(0, 0, 6, 2, 4), (1, 1, 3, 4, 2)]


def test_what_is_proven_becomes_one_row(ledger: Connection) -> None:
    """Holes and new epochs included; the next look has nothing to read."""
    first = look(ledger, TOPIC)
    assert (first.discrepancies, first.events) == ([], 12)
    assert proofs(ledger) == ALL_PROVEN
    again = look(ledger, TOPIC)
    assert (again.discrepancies, again.events) == ([], 0)
    assert proofs(ledger) == ALL_PROVEN
    assert again.seen_at > first.seen_at


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_wrong_is_named_as_the_whole_audit_names_it(ledger: Connection, name: str) -> None:
    """Each planted mistake has its codes, and the proof stays where it was."""
    change, codes = PLANTED[name]
    ledger.execute(change.encode())
    found = look(ledger, TOPIC)
    # A batch of a wrong epoch is called so, and by nothing else.
    is_stray = "BATCH_AFTER_EPOCH_END" in codes
    expected = codes - {"BATCH_HOLE"} if is_stray else codes
    assert {one.code for one in found.discrepancies} == expected
    assert all(one.count for one in found.discrepancies)
    assert proofs(ledger) == NOTHING_PROVEN


def test_a_mistake_is_found_again_until_it_is_mended(ledger: Connection) -> None:
    """The proof goes on, over all that came meanwhile, once nothing is wrong."""
    ledger.execute('UPDATE "CreditWallet" SET balance = balance + 1')
    for _ in range(2):
        assert [one.code for one in look(ledger, TOPIC).discrepancies] == ["WALLET_BALANCE"]
    ledger.execute('UPDATE "CreditWallet" SET balance = balance - 1')
    assert look(ledger, TOPIC).discrepancies == []
    assert proofs(ledger) == ALL_PROVEN


def test_a_batch_beyond_the_proof_is_looked_at(ledger: Connection) -> None:
    """After a proof the next batch is compared with the rows of its own, and with the last one."""
    look(ledger, TOPIC)
    ledger.execute(
        'INSERT INTO "RatedBatch" (topic, partition, epoch, first_offset, next_offset,'
        " rated_offset, charged) VALUES ('usage.raw', 0, 0, 7, 9, 2, 1)"
    )
    ledger.execute('UPDATE "SinkOffset" SET next_offset = 9 WHERE partition = 0')
    found = look(ledger, TOPIC)
    assert {one.code for one in found.discrepancies} == {"BATCH_HOLE", "CHARGED_COUNT"}


def test_a_position_that_moved_without_a_batch_is_named(ledger: Connection) -> None:
    """Also where there is no new batch at all."""
    look(ledger, TOPIC)
    ledger.execute('UPDATE "SinkOffset" SET next_offset = 7 WHERE partition = 0')
    assert [one.code for one in look(ledger, TOPIC).discrepancies] == ["OFFSET_DISAGREES"]


def test_a_partition_seen_first_is_proven_from_where_it_stands(ledger: Connection) -> None:
    """A ledger of ten million rows is not read at once; `burnstream audit` proves what is older."""
    ledger.execute('DELETE FROM "AuditProof"')
    ledger.execute('DELETE FROM "UsageEvent"')
    assert look(ledger, TOPIC).discrepancies == []
    assert proofs(ledger) == [(0, 0, 6, 0, 0), (1, 1, 3, 0, 0)]


def test_a_transaction_under_way_is_neither_missed_nor_half_seen(
    ledger: Connection, database_url: str
) -> None:
    """It began before a look and commits after it: the next look proves it nevertheless."""
    with psycopg.connect(database_url) as sink:
        sink.execute(
            'INSERT INTO "RatedBatch" (topic, partition, epoch, first_offset, next_offset,'
            " rated_offset, charged) VALUES ('usage.raw', 0, 0, 6, 8, 2, 2)"
        )
        sink.execute('UPDATE "SinkOffset" SET next_offset = 8 WHERE partition = 0')
        assert look(ledger, TOPIC).discrepancies == []
        assert proofs(ledger) == ALL_PROVEN
        sink.commit()
        assert [one.code for one in look(ledger, TOPIC).discrepancies] == ["CHARGED_COUNT"]

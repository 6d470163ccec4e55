"""What became of batches and events, and dead letters, asked over HTTP by those they belong to."""

import json
from typing import Any

import psycopg
import pytest

from gateway import dead_letters
from schemas.dead_letter import REPLAY_OF_HEADER
from tests.integration.gateway.conftest import RealGateway, add_customer
from tests.integration.gateway.test_ingest import batch
from tests.unit.gateway.fakes import CUSTOMER

OTHER_KEY = "om_test_other"


class Ledger:
    """Writes what a sink would write."""

    def __init__(self, connection: psycopg.Connection[Any], topic: str) -> None:
        self._connection = connection
        self._topic = topic

    def apply(self, partition: int, next_offset: int, **counts: int) -> None:
        """Advance a partition to `next_offset` by one rated batch."""
        values = {"topic": self._topic, "partition": partition, "next": next_offset} | counts
        self._connection.execute(
            'INSERT INTO "RatedBatch" (topic, partition, epoch, first_offset, next_offset, '
            "rated_offset) VALUES (%(topic)s, %(partition)s, 0, 0, %(next)s, 0)",
            values,
        )
        self._connection.execute(
            'UPDATE "SinkOffset" SET next_offset = %(next)s '
            "WHERE topic = %(topic)s AND partition = %(partition)s",
            values,
        )

    def charge(self, event_id: str, partition: int, offset: int, index: int) -> None:
        """Charge an event 15 credits."""
        values = {"id": event_id, "customer": CUSTOMER, "p": partition, "o": offset, "i": index}
        self._connection.execute(
            'INSERT INTO "UsageEvent" (id, customer_id, event_type, feature_id, credits_burned, '
            "cost_usd, timestamp, source_partition, source_epoch, source_offset, source_index) "
            "VALUES (%(id)s, %(customer)s, 'TOKEN_USAGE', 'f', 15, 0.015000, now(), %(p)s, 0, "
            "%(o)s, %(i)s)",
            values,
        )
        self._connection.execute(
            'INSERT INTO "CreditTransaction" (wallet_id, customer_id, transaction_type, amount, '
            "balance_before, balance_after, usage_event_id, wallet_seq) "
            "VALUES ('w', %(customer)s, 'BURN', -15, 100, 85, %(id)s, %(i)s + 1)",
            values,
        )

    def duplicate(self, event_id: str, partition: int, offset: int, index: int) -> None:
        """Call an event a duplicate of the first one of its record."""
        self._connection.execute(
            'INSERT INTO "DuplicateEvent" (partition, epoch, "offset", index, customer_id, '
            "event_id, of_partition, of_offset, of_index, found_by) "
            "VALUES (%s, 0, %s, %s, %s, %s, %s, %s, 0, 'seen')",
            [partition, offset, index, CUSTOMER, event_id, partition, offset],
        )

    def bury(
        self,
        event_id: str,
        partition: int,
        offset: int,
        index: int,
        *,
        customer_id: str = CUSTOMER,
        payload: bytes = b'{"an": "event"}',
    ) -> str:
        """Make a dead letter; return its id."""
        row = self._connection.execute(
            'INSERT INTO "DeadLetter" (partition, epoch, "offset", index, customer_id, event_id, '
            "reason, message, payload, found_by) "
            "VALUES (%s, 0, %s, %s, %s, %s, 'UNPRICED', 'no price', %s, 'streams') RETURNING id",
            [partition, offset, index, customer_id, event_id, payload],
        ).fetchone()
        assert row
        return str(row[0])


@pytest.fixture
def sink(gateway: RealGateway, ledger: psycopg.Connection[Any]) -> Ledger:
    add_customer(ledger, "other", OTHER_KEY)
    return Ledger(ledger, gateway.settings.topics.raw)


def event_id(number: int) -> str:
    return f"550e8400-e29b-41d4-a716-{number:012}"


async def test_batch_is_queued_until_it_is_applied_and_then_told_by_outcome(
    gateway: RealGateway, sink: Ledger
) -> None:
    """From Postgres alone, for the customer alone."""
    _, accepted = await gateway.ingest(batch(3))
    path = f"/v1/batches/{accepted['batch_id']}"
    (record,) = await gateway.records()
    partition, offset = record.partition, record.offset

    assert await gateway.get(path) == (
        200,
        {"batch_id": accepted["batch_id"], "events": 3, "status": "queued"},
    )
    sink.charge(event_id(0), partition, offset, 0)
    sink.duplicate(event_id(1), partition, offset, 1)
    letter = sink.bury(event_id(2), partition, offset, 2)
    assert (await gateway.get(path))[1]["status"] == "queued"
    sink.apply(partition, offset + 1)

    assert await gateway.get(path) == (
        200,
        {
            "batch_id": accepted["batch_id"],
            "status": "committed",
            "events": 3,
            "outcomes": {"charged": 1, "duplicate": 1, "dead_letter": 1},
            "credits_burned": 15,
            "dead_letters": [
                {
                    "id": letter,
                    "event_id": event_id(2),
                    "reason": "UNPRICED",
                    "message": "no price",
                    "status": "OPEN",
                }
            ],
        },
    )
    _, by_position = await gateway.get(f"/v1/batches/{partition}:{offset}")
    assert by_position["outcomes"] == {"charged": 1, "duplicate": 1, "dead_letter": 1}


async def test_batch_of_another_customer_is_not_found(gateway: RealGateway, sink: Ledger) -> None:
    """Neither by its id, nor by a forged one, nor by its position."""
    _, accepted = await gateway.ingest(batch(1))
    (record,) = await gateway.records()
    sink.charge(event_id(0), record.partition, record.offset, 0)
    sink.apply(record.partition, record.offset + 1)
    batch_id = accepted["batch_id"]

    for path in (batch_id, f"{record.partition}:{record.offset}"):
        assert (await gateway.get(f"/v1/batches/{path}", x_api_key=OTHER_KEY))[0] == 404
    for path in (batch_id[:-1] + ("A" if batch_id[-1] != "A" else "B"), "batch_", "99:0"):
        assert (await gateway.get(f"/v1/batches/{path}"))[0] == 404


async def test_event_is_told_by_what_became_of_it(gateway: RealGateway, sink: Ledger) -> None:
    """Charged, duplicate or dead letter, to its customer; 404 for all others."""
    sink.charge(event_id(0), 0, 7, 0)
    sink.duplicate(event_id(1), 0, 7, 1)
    letter = sink.bury(event_id(2), 0, 7, 2)

    status, charged = await gateway.get(f"/v1/events/{event_id(0).upper()}")
    assert status == 200
    assert (charged["status"], charged["credits"], charged["cost_usd"]) == (
        "charged",
        15,
        "0.015000",
    )
    assert charged["source"] == {"partition": 0, "epoch": 0, "offset": 7, "index": 0}
    assert charged["transaction"]["id"].startswith("txn-")
    assert charged["transaction"]["balance_after"] == 85

    _, duplicate = await gateway.get(f"/v1/events/{event_id(1)}")
    assert duplicate["status"] == "duplicate"
    assert duplicate["duplicate_of"] == {"partition": 0, "offset": 7, "index": 0}

    _, buried = await gateway.get(f"/v1/events/{event_id(2)}")
    assert (buried["status"], buried["dead_letter"]["id"]) == ("dead_letter", letter)

    assert (await gateway.get(f"/v1/events/{event_id(9)}"))[0] == 404
    for number in range(3):
        path = f"/v1/events/{event_id(number)}"
        assert (await gateway.get(path, x_api_key=OTHER_KEY))[0] == 404


async def test_dead_letters_are_listed_and_replayed_by_their_customer_only(
    gateway: RealGateway, sink: Ledger, ledger: psycopg.Connection[Any]
) -> None:
    """The bytes go to Kafka again under the origin's name, and the letter is marked."""
    own = sink.bury(event_id(0), 1, 5, 3, payload=b'{"event_id": "x", "n": 1.0}')
    hostile = sink.bury(event_id(1), 1, 6, 0, payload=b"\xff\x00{")
    foreign = sink.bury(event_id(2), 1, 7, 0, customer_id="other")

    _, listed = await gateway.get("/v1/events/dlq")
    assert listed["counts"] == {"active": 2}
    assert {item["id"] for item in listed["items"]} == {own, hostile}
    by_id = {item["id"]: item for item in listed["items"]}
    assert by_id[own]["data"] == {"event_id": "x", "n": 1.0}
    assert by_id[own]["failedReason"] == "UNPRICED: no price"
    assert by_id[hostile]["data_base64"] == "/wB7"

    wanted = json.dumps({"jobIds": [own, foreign, "dl-none"]}).encode()
    assert await gateway.post("/v1/events/dlq/replay", wanted) == (
        200,
        {"message": "Jobs replayed successfully", "count": 1},
    )
    (record,) = await gateway.records()
    assert record.value == b'{"event_id": "x", "n": 1.0}'
    assert record.key == CUSTOMER.encode()
    assert dict(record.headers)[REPLAY_OF_HEADER] == b"1:0:5:3"
    marked = ledger.execute(
        'SELECT status, replays, resolved_by, replayed_as FROM "DeadLetter" WHERE id = %s', [own]
    ).fetchone()
    assert marked == ("REPLAYED", 1, f"customer:{CUSTOMER}", f"{record.partition}:{record.offset}")

    assert (await gateway.post("/v1/events/dlq/replay", b""))[1]["count"] == 1
    assert await gateway.post("/v1/events/dlq/replay", b"{}") == (
        200,
        {"message": "No jobs to replay", "count": 0},
    )
    still = ledger.execute('SELECT status FROM "DeadLetter" WHERE id = %s', [foreign]).fetchone()
    assert still == ("OPEN",)


async def test_a_letter_discarded_during_its_replay_stays_discarded(
    gateway: RealGateway,
    sink: Ledger,
    ledger: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An operator's decision is not written over; the letter says that it was on its way."""
    letter = sink.bury(event_id(0), 1, 5, 3)
    write = dead_letters._write

    async def write_and_discard(*arguments: Any) -> str:
        place = await write(*arguments)
        ledger.execute(
            "UPDATE \"DeadLetter\" SET status = 'DISCARDED', resolved_at = now(), "
            "resolved_by = 'ann' WHERE id = %s",
            [letter],
        )
        return place

    monkeypatch.setattr(dead_letters, "_write", write_and_discard)
    assert (await gateway.post("/v1/events/dlq/replay", b""))[1]["count"] == 1
    (record,) = await gateway.records()
    marked = ledger.execute(
        'SELECT status, replays, resolved_by, replayed_as FROM "DeadLetter"'
    ).fetchone()
    assert marked == ("DISCARDED", 1, "ann", f"{record.partition}:{record.offset}")

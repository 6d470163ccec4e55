"""Producers that write usage.raw themselves get what HTTP callers get."""

import json
import uuid

import pytest
from aiokafka import AIOKafkaProducer

from schemas.events import METADATA_BYTES_MAX
from schemas.topics import EVENTS_PER_RECORD_MAX, PARTITIONS_DEFAULT, partition_for_key
from tests.e2e.http_door import post
from tests.e2e.ledger import Ledger
from tests.e2e.producers import CREDITS, event, produce, value_of, wait_until_all_is_applied
from tests.system import System
from tests.waiting import wait_until

PRICE_TIMEOUT_SECONDS = 10.0


@pytest.mark.timeout(240)
def test_whatever_a_producer_does_each_event_is_charged_once(
    system: System, ledger: Ledger, raw: str
) -> None:
    """Keys, partitioners, compression, batches, transactions and both doors: one charge each."""
    api_key = ledger.create_customer("cust-a")
    ledger.create_customer("cust-b")
    system.start()
    single, unkeyed, squeezed, zipped = (event("cust-a") for _ in range(4))
    of_both = [event("cust-a"), event("cust-b"), event("cust-b")]
    committed, aborted, both_doors = event("cust-a"), event("cust-a"), event("cust-a")
    elsewhere = (partition_for_key(b"cust-a", PARTITIONS_DEFAULT) + 1) % PARTITIONS_DEFAULT

    async def plain(producer: AIOKafkaProducer) -> None:
        await producer.send_and_wait(raw, value_of(single), key=b"cust-a")
        await producer.send_and_wait(raw, value_of(single), key=b"cust-a")
        # What another client's partitioner does: the same event, another partition.
        await producer.send_and_wait(raw, value_of(single), partition=elsewhere)
        await producer.send_and_wait(raw, value_of(unkeyed))
        await producer.send_and_wait(raw, value_of(*of_both))
        await producer.send_and_wait(raw, value_of(both_doors), key=b"cust-a")

    async def in_transactions(producer: AIOKafkaProducer) -> None:
        async with producer.transaction():
            await producer.send_and_wait(raw, value_of(committed), key=b"cust-a")
        await producer.begin_transaction()
        await producer.send_and_wait(raw, value_of(aborted), key=b"cust-a")
        await producer.abort_transaction()

    produce(system, plain)
    produce(system, lambda p: p.send_and_wait(raw, value_of(squeezed)), compression_type="lz4")
    produce(system, lambda p: p.send_and_wait(raw, value_of(zipped)), compression_type="gzip")
    produce(system, in_transactions, transactional_id=f"{raw}-direct")
    post(system, api_key, both_doors)
    wait_until_all_is_applied(system, ledger)

    charged = {one: cost for one, cost in ledger.charged().items() if cost}
    expected = [single, unkeyed, squeezed, zipped, *of_both, committed, both_doors]
    assert charged == {one["event_id"]: CREDITS for one in expected}
    assert aborted["event_id"] not in charged
    assert ledger.balance("cust-a") == 1_000_000 - 7 * CREDITS
    assert ledger.balance("cust-b") == 1_000_000 - 2 * CREDITS
    duplicates = ledger.rows('SELECT event_id::text, found_by FROM "DuplicateEvent"')
    assert sorted(row["event_id"] for row in duplicates) == sorted(
        [single["event_id"], single["event_id"], both_doors["event_id"]]
    )
    assert "conflict" in {row["found_by"] for row in duplicates}
    system.require_all_running()
    system.burnstream("audit", "--log")


def _hostile(customer_id: str) -> list[tuple[str, bytes]]:
    """Values of records and why each of them is a dead letter."""
    too_many = [event(customer_id) for _ in range(EVENTS_PER_RECORD_MAX + 1)]
    return [
        ("NOT_JSON", b"no json at all"),
        ("NOT_JSON", b""),
        ("NOT_JSON", b"\xff\xfe\x00\x01"),
        ("NOT_JSON", b'{"events": [' + b"[" * 100_000),
        ("NOT_JSON", value_of(event(customer_id))[:-1]),
        ("BAD_SCHEMA", b"[]"),
        ("BAD_SCHEMA", b'"text"'),
        ("BAD_SCHEMA", b'{"events": "none"}'),
        ("BAD_SCHEMA", value_of(event(customer_id, input_tokens="5"))),
        ("BAD_SCHEMA", value_of(event(customer_id, input_tokens=True))),
        ("BAD_SCHEMA", value_of(event(customer_id, model=None))),
        ("BAD_SCHEMA", value_of(event(customer_id, model="a\0b"))),
        ("BAD_SCHEMA", value_of(event(customer_id, event_id=f"urn:uuid:{uuid.uuid4()}"))),
        ("BAD_SCHEMA", value_of(event(customer_id, input_tokens=2**63))),
        ("BAD_SCHEMA", value_of(event(customer_id, metadata={"a": "x" * METADATA_BYTES_MAX}))),
        ("TIMESTAMP_OUT_OF_RANGE", value_of(event(customer_id, timestamp="2999-01-01T00:00Z"))),
        ("TIMESTAMP_OUT_OF_RANGE", value_of(event(customer_id, timestamp="1999-01-01T00:00Z"))),
        ("TOO_MANY_EVENTS", value_of(*too_many)),
        ("UNPRICED", value_of(event(customer_id, model="no-such-model"))),
    ]


@pytest.mark.timeout(240)
def test_hostile_bytes_are_kept_as_dead_letters(system: System, ledger: Ledger, raw: str) -> None:
    """Each bad record is a letter with its reason and bytes; the good ones around are charged."""
    ledger.create_customer("cust-a")
    system.start()
    hostile = _hostile("cust-a")
    good = [event("cust-a") for _ in hostile]
    mixed = [event("cust-a"), event("cust-a", quantity=-1), event("cust-a")]

    async def send(producer: AIOKafkaProducer) -> None:
        for (_, value), following in zip(hostile, good, strict=True):
            await producer.send_and_wait(raw, value, key=b"\xfe\xff", partition=0)
            await producer.send_and_wait(raw, value_of(following), partition=0)
        await producer.send_and_wait(raw, None, key=b"tombstone", partition=0)
        await producer.send_and_wait(raw, value_of(*mixed), partition=0)

    produce(system, send, max_request_size=4 << 20)
    wait_until_all_is_applied(system, ledger)

    letters = ledger.letters()
    bad_of_mixed = json.dumps(mixed[1]).encode()
    assert [(one["reason"], bytes(one["payload"])) for one in letters] == [
        *hostile,
        ("NOT_JSON", b""),
        ("BAD_SCHEMA", bad_of_mixed),
    ]
    assert {bytes(one["record_key"]) for one in letters[: len(hostile)]} == {b"\xfe\xff"}
    expected = {one["event_id"] for one in [*good, mixed[0], mixed[2]]}
    assert {one for one, cost in ledger.charged().items() if cost} == expected
    system.require_all_running()
    system.burnstream("audit", "--log")


@pytest.mark.timeout(240)
def test_a_replayed_letter_is_charged_once(system: System, ledger: Ledger, raw: str) -> None:
    """A customer who comes late: his letter replayed, and replayed again, is one charge."""
    system.start()
    late = event("cust-late")
    produce(system, lambda p: p.send_and_wait(raw, value_of(late), key=b"cust-late"))
    wait_until(ledger.letters, 30, "the letter is there")
    letter = ledger.letters()[0]
    ledger.create_customer("cust-late")

    for _ in range(2):
        system.burnstream("dead-letters", "replay", letter["id"], "--reason", "created since")
        wait_until_all_is_applied(system, ledger)

    # The sink finds that out, and keeps the event as the streams handed it on.
    assert json.loads(letter["payload"]) == late
    assert ledger.charged()[late["event_id"]] == CREDITS
    assert ledger.balance("cust-late") == 1_000_000 - CREDITS
    assert [row["status"] for row in ledger.letters()] == ["REPLAYED"]
    system.burnstream("audit", "--log")


@pytest.mark.timeout(240)
def test_a_price_set_by_sql_is_in_force_within_seconds(
    system: System, ledger: Ledger, raw: str
) -> None:
    """A new price charges what comes after it, and the letters that waited charge themselves."""
    ledger.create_customer("cust-a")
    system.start()
    waiting, later = (event("cust-a", model="brand-new", output_tokens=0) for _ in range(2))
    produce(system, lambda p: p.send_and_wait(raw, value_of(waiting), key=b"cust-a"))
    wait_until(ledger.letters, 30, "the letter is there")

    ledger.rows(
        'INSERT INTO "ProviderCost" '
        "(id, provider, model, cost_type, cost_per_unit, unit_size, valid_from) "
        "VALUES ('new', 'OPENAI', 'brand-new', 'INPUT_TOKEN', 7, 1000000, '2025-01-01')"
    )
    wait_until(
        lambda: waiting["event_id"] in ledger.charged(),
        PRICE_TIMEOUT_SECONDS,
        "the letter charges itself",
    )
    produce(system, lambda p: p.send_and_wait(raw, value_of(later), key=b"cust-a"))
    ledger.wait_until_charged(later["event_id"])

    assert ledger.charged() == {waiting["event_id"]: 7, later["event_id"]: 7}
    assert [row["status"] for row in ledger.letters()] == ["REPLAYED"]
    system.burnstream("audit", "--log")

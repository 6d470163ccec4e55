"""Events voided and replaced by records of the log: given back once, booked again once."""

import json
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from schemas.corrections import CORRECTION_HEADER, Correction, encode_correction, void_event_id
from schemas.topics import Topics
from tests.e2e.ledger import Ledger
from tests.e2e.producers import CREDITS, event, produce, value_of, wait_until_all_is_applied
from tests.system import System

CUSTOMER, OTHER = "cust-voids", "cust-voids-2"
BEGUN_WITH = 1_000_000

Value = tuple[bytes, list[tuple[str, bytes]]]


@pytest.fixture
def ledger(system: System, database_url: str) -> Ledger:
    found = Ledger(database_url)
    found.create_customer(CUSTOMER)
    found.create_customer(OTHER)
    system.start(gateways=0)
    return found


def correction(
    original: dict[str, Any], new: dict[str, Any] | None = None, customer: str = CUSTOMER
) -> Value:
    """A record that voids an event, or puts another in its place."""
    void: Any = {"customer_id": customer, "event_id": original["event_id"], "reason": "mistaken"}
    one: Any = new
    return encode_correction(Correction(void, one)), [CORRECTION_HEADER]


def usual(*events: dict[str, Any]) -> Value:
    return value_of(*events), []


def send(system: System, ledger: Ledger, *values: Value) -> None:
    """Write records to one partition, in their order, and wait until they are applied."""
    raw = Topics(system.environment["TOPIC_PREFIX"]).raw

    async def run(producer: AIOKafkaProducer) -> None:
        for value, headers in values:
            await producer.send(raw, value, partition=1, headers=headers)
        await producer.flush()

    produce(system, run)
    wait_until_all_is_applied(system, ledger)


def letters(ledger: Ledger) -> list[str]:
    """The messages of the open letters, oldest first."""
    rows = ledger.rows('SELECT message FROM "DeadLetter" WHERE status = \'OPEN\' ORDER BY "offset"')
    return [row["message"] for row in rows]


def duplicates(ledger: Ledger) -> int:
    return int(ledger.rows('SELECT count(*) AS number FROM "DuplicateEvent"')[0]["number"])


def of_event(ledger: Ledger, event_id: str) -> list[tuple[str, int]]:
    """What was done to the wallet for an event."""
    rows = ledger.rows(
        'SELECT transaction_type, amount FROM "CreditTransaction" WHERE usage_event_id = %s'
        " ORDER BY wallet_seq",
        event_id,
    )
    return [(row["transaction_type"], row["amount"]) for row in rows]


@pytest.mark.timeout(240)
def test_voided_and_replaced_once(system: System, ledger: Ledger) -> None:
    """The original stays, is given back and is a duplicate for ever; its replacement is charged."""
    first, second, free = event(CUSTOMER), event(CUSTOMER), event(CUSTOMER, event_type="API_CALL")
    # The second's void stands beside it in the log, and so, mostly, in one transaction.
    send(system, ledger, usual(first, free), usual(second), correction(second))
    assert of_event(ledger, second["event_id"]) == [("BURN", -CREDITS), ("REFUND", CREDITS)]
    assert ledger.balance(CUSTOMER) == BEGUN_WITH - CREDITS

    new = event(CUSTOMER, input_tokens=2_000)
    again = (correction(first, new), correction(second), usual(first), usual(second))
    send(system, ledger, correction(free), *again, *again)
    assert of_event(ledger, first["event_id"]) == [("BURN", -CREDITS), ("REFUND", CREDITS)]
    assert of_event(ledger, new["event_id"]) == [("BURN", -20)]
    assert of_event(ledger, free["event_id"]) == []
    assert ledger.balance(CUSTOMER) == BEGUN_WITH - 20
    assert letters(ledger) == []
    assert duplicates(ledger) == 7
    rows = ledger.rows("SELECT event_id::text, voided_by::text, is_replaced, reason FROM voids")
    assert {row["event_id"]: (row["voided_by"], row["is_replaced"]) for row in rows} == {
        first["event_id"]: (new["event_id"], True),
        second["event_id"]: (void_event_id(CUSTOMER, second["event_id"]), False),
        free["event_id"]: (void_event_id(CUSTOMER, free["event_id"]), False),
    }
    system.burnstream("audit", "--log")

    # What takes the place of another is an event like any other.
    send(system, ledger, correction(new))
    assert ledger.balance(CUSTOMER) == BEGUN_WITH
    system.burnstream("audit", "--log")


@pytest.mark.timeout(240)
def test_what_cannot_be_corrected_is_a_letter(system: System, ledger: Ledger) -> None:
    """As a whole, with the reason; replayed it is a correction again."""
    known, late, taken = event(CUSTOMER), event(CUSTOMER), event(CUSTOMER)
    send(
        system,
        ledger,
        usual(known, taken),
        correction(known, customer=OTHER),
        correction(late, event(CUSTOMER)),
        correction(known, event(CUSTOMER, model="no-such-model")),
        correction(known, taken),
        (b'{"void": {"customer_id": 5}}', [CORRECTION_HEADER]),
        correction(known),
        correction(known, event(CUSTOMER)),
    )
    # A correction of a correction that came to nothing comes to nothing, too.
    unknown, its_new = event(CUSTOMER), event(CUSTOMER)
    twice = correction(unknown, its_new)
    send(system, ledger, twice, twice, correction(its_new, event(CUSTOMER)))
    *messages, first, second, third = letters(ledger)
    assert {first, second, third} == {messages[0]}
    assert ["no such event is charged" in message for message in messages[:2]] == [True, True]
    assert "no-such-model" in messages[2]
    assert "new event's id or key is charged" in messages[3]
    assert messages[4].startswith("Correction: ")
    assert "voided already" in messages[5]
    assert len(messages) == 6
    assert ledger.balance(CUSTOMER) == BEGUN_WITH - CREDITS
    system.burnstream("audit", "--log")

    send(system, ledger, usual(late))
    rows = ledger.rows(
        'SELECT id FROM "DeadLetter" WHERE message LIKE %s AND customer_id = %s',
        "no such event%",
        CUSTOMER,
    )
    system.burnstream("dead-letters", "replay", rows[0]["id"])
    wait_until_all_is_applied(system, ledger)
    assert of_event(ledger, late["event_id"]) == [("BURN", -CREDITS), ("REFUND", CREDITS)]
    assert len(letters(ledger)) == 5 + 3
    system.burnstream("audit", "--log")


@pytest.mark.timeout(240)
def test_a_backfill_charges_no_half_of_a_correction(system: System, ledger: Ledger) -> None:
    """An unknown customer's event and its replacement: the first is charged, the other named."""
    late = "cust-voids-late"
    original, new = event(late), event(late)
    send(system, ledger, usual(original), correction(original, new, customer=late))
    ledger.create_customer(late)
    system.burnstream("replay", "today", "--prices", "now", "--json", check=False)
    done = system.burnstream("backfill", "today", "--apply", "--json", check=False)
    assert done.returncode == 1
    assert list(json.loads(done.stdout)["refused"]) == [new["event_id"]]
    assert ledger.charged().keys() >= {original["event_id"]}
    assert new["event_id"] not in ledger.charged()
    system.burnstream("audit", "--log")


@pytest.mark.timeout(300)
def test_killed_amid_corrections(system: System, ledger: Ledger) -> None:
    """Streams and sinks killed with -9 again and again: each is undone once, booked again once."""
    pairs = [(event(CUSTOMER), event(CUSTOMER, output_tokens=0)) for _ in range(300)]
    raw = Topics(system.environment["TOPIC_PREFIX"]).raw
    for number in range(0, len(pairs), 50):

        async def run(producer: AIOKafkaProducer, number: int = number) -> None:
            for original, new in pairs[number : number + 50]:
                for value, headers in (
                    usual(original),
                    correction(original, new),
                    correction(original, new),
                ):
                    await producer.send(raw, value, partition=1, headers=headers)
            await producer.flush()

        produce(system, run)
        for worker in (*system.sinks, *system.streams):
            worker.kill()
            worker.start()
    wait_until_all_is_applied(system, ledger)
    assert ledger.balance(CUSTOMER) == BEGUN_WITH - 5 * len(pairs)
    rows = ledger.rows(
        'SELECT count(*) AS voided, (SELECT count(*) FROM "CreditTransaction"'
        " WHERE transaction_type = 'REFUND') AS refunds FROM \"VoidedEvent\""
    )
    assert rows == [{"voided": len(pairs), "refunds": len(pairs)}]
    assert letters(ledger) == []
    system.burnstream("audit", "--log")


@pytest.mark.timeout(240)
def test_through_several_partitions_and_sinks(system: System, ledger: Ledger) -> None:
    """Whoever comes first has its way: the same is a duplicate, another replacement a letter."""
    events = [event(CUSTOMER) for _ in range(40)]
    send(system, ledger, usual(*events))
    raw = Topics(system.environment["TOPIC_PREFIX"]).raw

    async def run(producer: AIOKafkaProducer) -> None:
        for one in events[:20]:
            value, headers = correction(one)
            for partition in range(4):
                await producer.send(raw, value, partition=partition, headers=headers)
        for one in events[20:]:
            for partition in range(4):
                value, headers = correction(one, event(CUSTOMER))
                await producer.send(raw, value, partition=partition, headers=headers)
        await producer.flush()

    produce(system, run)
    wait_until_all_is_applied(system, ledger)
    assert ledger.balance(CUSTOMER) == BEGUN_WITH - 20 * CREDITS
    assert duplicates(ledger) == 20 * 3
    assert letters(ledger) == ["the event is voided already: name the one that took its place"] * 60
    system.burnstream("audit", "--log")


@pytest.mark.timeout(240)
def test_replayed_and_repriced(system: System, ledger: Ledger) -> None:
    """A replay honours corrections, also of what stands before it; a void costs nothing ever."""
    first, second, third = (event(CUSTOMER) for _ in range(3))
    new = event(CUSTOMER, input_tokens=2_000)
    send(system, ledger, usual(first, second, third))
    send(system, ledger, correction(first), correction(second, new), correction(first))

    whole = system.burnstream("replay", "whole", "--json", check=False)
    assert whole.returncode == 0, whole.stdout
    rows = ledger.rows(
        'SELECT sum(amount)::bigint AS net FROM job_whole."CreditTransaction"'
        " WHERE customer_id = %s",
        CUSTOMER,
    )
    assert rows == [{"net": -CREDITS - 20}]
    tail = system.burnstream("replay", "tail", "--from", "1:2", "--json", check=False)
    assert tail.returncode == 0, tail.stdout

    ledger.rows(
        'UPDATE "ProviderCost" SET cost_per_unit = cost_per_unit * 2'
        " WHERE provider = 'OPENAI' AND model = 'gpt-4-turbo'"
    )
    system.burnstream("reprice", "twice", "--apply", "--report", str(system.folder / "report"))
    assert ledger.balance(CUSTOMER) == BEGUN_WITH - 2 * (CREDITS + 20)
    # What a repricing took is given back with the rest.
    send(system, ledger, correction(new))
    assert ledger.balance(CUSTOMER) == BEGUN_WITH - 2 * CREDITS
    system.burnstream("audit", "--log")

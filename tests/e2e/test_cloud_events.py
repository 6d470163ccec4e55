"""One CloudEvent is one charge, whichever door it comes through and however it is written."""

import json
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from schemas.cloud_events import BATCH, STRUCTURED, usage_event_id
from tests.e2e.http_door import post_body
from tests.e2e.ledger import Ledger
from tests.e2e.producers import CREDITS, event, produce, value_of, wait_until_all_is_applied
from tests.system import System

SOURCE = "/shops/berlin"
CUSTOMER = "cust-a"
OF_KAFKA = [("content-type", STRUCTURED.encode())]


def cloud_event(number: int, subject: str = CUSTOMER, **changes: Any) -> dict[str, Any]:
    """A CloudEvent that costs CREDITS."""
    own = ("event_id", "customer_id", "event_type", "timestamp")
    return {
        "specversion": "1.0",
        "id": f"line {number}",
        "source": SOURCE,
        "type": "com.example.token-usage",
        "subject": subject,
        "time": "2025-06-01T14:00:00+02:00",
        "data": {name: value for name, value in event("").items() if name not in own},
    } | changes


def event_id(number: int) -> str:
    return usage_event_id(SOURCE, f"line {number}")


def attributes(one: dict[str, Any], prefix: str) -> dict[str, str]:
    return {prefix + name: value for name, value in one.items() if name != "data"}


@pytest.mark.timeout(240)
def test_a_cloud_event_is_one_charge_through_both_doors(
    system: System, ledger: Ledger, raw: str
) -> None:
    """HTTP and Kafka, structured, batch and binary, other partitions: one charge per event."""
    api_key = ledger.create_customer(CUSTOMER)
    system.start()
    first, second = cloud_event(1), cloud_event(2)

    async def send(producer: AIOKafkaProducer) -> None:
        for partition, one in enumerate((first, second)):
            whole = json.dumps(one).encode()
            await producer.send_and_wait(raw, whole, key=CUSTOMER.encode(), headers=OF_KAFKA)
            headers = [(name, v.encode()) for name, v in attributes(one, "ce_").items()]
            data = json.dumps(one["data"]).encode()
            await producer.send_and_wait(raw, data, partition=partition, headers=headers)

    post_body(system, api_key, first, STRUCTURED)
    produce(system, send)
    post_body(system, api_key, [first, second], BATCH)
    post_body(system, api_key, second["data"], "application/json", **attributes(second, "ce-"))
    wait_until_all_is_applied(system, ledger)

    charged = {one: cost for one, cost in ledger.charged().items() if cost}
    assert charged == {event_id(1): CREDITS, event_id(2): CREDITS}
    assert ledger.balance(CUSTOMER) == 1_000_000 - 2 * CREDITS
    duplicates = ledger.rows('SELECT event_id::text, idempotency_key FROM "DuplicateEvent"')
    assert sorted((row["event_id"], row["idempotency_key"]) for row in duplicates) == sorted(
        [(event_id(1), f"{SOURCE} line 1")] * 3 + [(event_id(2), f"{SOURCE} line 2")] * 3
    )
    assert ledger.letters() == []
    system.require_all_running()
    system.burnstream("audit", "--log")


@pytest.mark.timeout(240)
def test_bad_cloud_events_are_letters_and_a_replayed_one_is_charged(
    system: System, ledger: Ledger, raw: str
) -> None:
    """What is no CloudEvent is kept with a reason; what came too early is charged by its replay."""
    system.start()
    late = cloud_event(3, subject="cust-late")
    nameless = json.dumps(cloud_event(4, id="")).encode()
    like_a_batch = json.dumps(cloud_event(5, events=[{}, {}])).encode()

    async def send(producer: AIOKafkaProducer) -> None:
        for value in (nameless, like_a_batch, json.dumps(late).encode()):
            await producer.send_and_wait(raw, value, partition=0, headers=OF_KAFKA)
        await producer.send_and_wait(raw, value_of(event("cust-late")), partition=0)

    produce(system, send)
    wait_until_all_is_applied(system, ledger)
    bad, batch, early, usual = ledger.letters()
    assert (bad["reason"], bytes(bad["payload"])) == ("BAD_SCHEMA", nameless)
    assert bad["message"] == "CloudEvent: id: Expected a text that is not empty"
    assert (batch["reason"], bytes(batch["payload"])) == ("BAD_SCHEMA", like_a_batch)
    assert (early["reason"], early["event_id"]) == ("UNKNOWN_CUSTOMER", event_id(3))

    ledger.create_customer("cust-late")
    for letter in (early, early, usual):
        system.burnstream("dead-letters", "replay", letter["id"], "--reason", "created since")
    produce(
        system,
        lambda p: p.send_and_wait(raw, json.dumps(late).encode(), headers=OF_KAFKA),
    )
    wait_until_all_is_applied(system, ledger)

    assert ledger.charged()[event_id(3)] == CREDITS
    assert ledger.balance("cust-late") == 1_000_000 - 2 * CREDITS
    system.burnstream("audit", "--log")

"""From an HTTP request to records of usage.raw, over real Kafka, Postgres and Redis."""

import json
from typing import Any

import psycopg
import redis

from gateway.auth import hash_of
from schemas.events import validate_each
from schemas.topics import PARTITIONS_DEFAULT, partition_for_key
from tests.integration.gateway.conftest import Gateways, RealGateway, add_customer
from tests.unit.gateway.fakes import API_KEY, CUSTOMER, EVENT


def batch(count: int, *, first: int = 0, **fields: Any) -> bytes:
    events = [
        EVENT | {"event_id": f"550e8400-e29b-41d4-a716-{number:012}"} | fields
        for number in range(first, first + count)
    ]
    return json.dumps({"events": events}).encode()


async def test_accepted_events_are_in_kafka(gateway: RealGateway) -> None:
    """One record, keyed by customer, in the partition that Java's client would choose."""
    body = batch(3, metadata={"x": 1})
    status, answer = await gateway.ingest(body)

    assert status == 202
    (record,) = await gateway.records()
    assert record.key == CUSTOMER.encode()
    assert record.partition == partition_for_key(CUSTOMER.encode(), PARTITIONS_DEFAULT)
    assert dict(record.headers) == {"format": b"1"}
    assert record.timestamp_type == 1  # the broker's time
    assert validate_each(record.value) == validate_each(body)
    assert answer["accepted"] == 3


async def test_large_batch_becomes_several_records(gateway: RealGateway) -> None:
    """More than a record may hold is accepted as one batch all the same."""
    body = batch(60, metadata={"x": "y" * 60_000})
    status, answer = await gateway.ingest(body)

    assert status == 202
    records = await gateway.records()
    assert len(records) > 1
    assert len({record.partition for record in records}) == 1
    events = [one for record in records for one in validate_each(record.value)]
    assert events == validate_each(body)
    assert (await gateway.get(f"/v1/batches/{answer['batch_id']}"))[1]["status"] == "queued"


async def test_duplicates_are_known_to_every_gateway(gateways: Gateways) -> None:
    """Two processes share what was accepted; every event is written whatever they know."""
    one, other = await gateways.start(), await gateways.start()

    await one.ingest(batch(2))
    status, answer = await other.ingest(batch(3))
    repeated, again = await one.ingest(batch(3))

    assert (status, answer["accepted"], answer["duplicates"]) == (202, 1, 2)
    assert (repeated, again["status"]) == (200, "all_duplicates")
    assert sum(len(validate_each(one.value)) for one in await one.records()) == 8


async def test_limit_is_counted_across_gateways_and_keeps_keys_secret(gateways: Gateways) -> None:
    """A second process is no second allowance; Redis never sees an API key."""
    one = await gateways.start(rate_limit_max=3)
    other = await gateways.start(rate_limit_max=3)

    statuses = [(await gateway.ingest(batch(1)))[0] for gateway in (one, other, one, other, one)]

    assert statuses == [202, 200, 200, 429, 429]
    with redis.Redis.from_url(one.settings.redis_url) as client:
        keys = b" ".join(client.keys())
    assert CUSTOMER.encode() in keys
    assert API_KEY.encode() not in keys
    assert hash_of(API_KEY).encode() not in keys


async def test_customer_inserted_by_sql_calls_at_once(
    gateway: RealGateway, ledger: psycopg.Connection[Any]
) -> None:
    """Guide step 2: a key unknown a moment ago works; a suspended customer's does not."""
    key = "om_test_new"
    assert (await gateway.ingest(batch(1, customer_id="new"), x_api_key=key))[0] == 401

    add_customer(ledger, "new", key)
    assert (await gateway.ingest(batch(1, customer_id="new"), x_api_key=key))[0] == 202

    add_customer(ledger, "gone", "om_test_gone")
    ledger.execute("UPDATE \"Customer\" SET status = 'SUSPENDED' WHERE id = 'gone'")
    status, _ = await gateway.ingest(batch(1, customer_id="gone"), x_api_key="om_test_gone")
    assert status == 401

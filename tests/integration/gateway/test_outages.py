"""Redis, Kafka and Postgres go away, one by one, and come back."""

import asyncio
import time
from typing import Any

import psycopg
import pytest

from deploy.local.servers import LocalServers
from schemas.events import validate_each
from tests.integration.gateway.conftest import RealGateway, add_customer
from tests.integration.gateway.test_ingest import batch
from tests.waiting import wait_until_async

RECOVERY_SECONDS = 30.0


async def _timed(awaitable: Any) -> tuple[Any, float]:
    started = time.monotonic()
    return await awaitable, time.monotonic() - started


async def test_without_redis_events_are_accepted_without_advice(
    gateway: RealGateway, local_servers: LocalServers
) -> None:
    """A killed Redis costs the counts, not the events, nor the readiness; then it is used again."""
    assert local_servers.redis is not None
    await gateway.ingest(batch(1))
    local_servers.redis.kill()

    (status, answer), _ = await _timed(gateway.ingest(batch(1)))
    assert (status, answer["duplicates"]) == (202, 0)
    assert await gateway.is_ready()

    local_servers.redis.start()

    async def is_advised() -> bool:
        return (await gateway.ingest(batch(1)))[0] == 200

    await wait_until_async(is_advised, RECOVERY_SECONDS, "duplicates are known again")


async def test_frozen_redis_does_not_slow_requests(
    gateway: RealGateway, local_servers: LocalServers
) -> None:
    """The first request waits for the time-out, the next ones do not wait at all."""
    assert local_servers.redis is not None
    await gateway.ingest(batch(1))
    local_servers.redis.pause()
    try:
        (status, _), first_seconds = await _timed(gateway.ingest(batch(1, first=1)))
        (again, _), next_seconds = await _timed(gateway.ingest(batch(1, first=2)))
    finally:
        local_servers.redis.resume()

    assert (status, again) == (202, 202)
    assert first_seconds < 1.5
    assert next_seconds < 0.4


async def test_frozen_kafka_is_said_and_nothing_is_lost(
    gateway: RealGateway, local_servers: LocalServers
) -> None:
    """No 202 without an acknowledgement; what a caller sends again is no duplicate to them."""
    assert local_servers.kafka is not None
    assert (await gateway.ingest(batch(1)))[0] == 202
    local_servers.kafka.pause()
    try:
        (status, answer), seconds = await _timed(gateway.ingest(batch(2)))
        ready, body = await gateway.get("/ready")
    finally:
        local_servers.kafka.resume()

    assert (status, answer["cause"]) == (503, "queue")
    assert seconds < 5
    assert (ready, body["services"]["queue"]) == (503, "disconnected")

    async def is_accepted() -> bool:
        status, answer = await gateway.ingest(batch(2))
        return status == 202 and answer["accepted"] >= 1

    await wait_until_async(is_accepted, RECOVERY_SECONDS, "events are accepted again")


async def test_killed_kafka_comes_back(gateway: RealGateway, local_servers: LocalServers) -> None:
    """Every event that was answered 202, before and after, is in the topic."""
    assert local_servers.kafka is not None
    accepted: set[int] = set()

    async def send(number: int) -> bool:
        status, _ = await gateway.ingest(batch(1, first=number))
        if status == 202:
            accepted.add(number)
        return status == 202

    assert await send(0)
    local_servers.kafka.kill()
    assert not await send(1)
    local_servers.kafka.launch()
    await asyncio.to_thread(local_servers.kafka.wait_until_ready)
    numbers = iter(range(2, 1_000))

    async def is_back() -> bool:
        return await send(next(numbers))

    await wait_until_async(is_back, RECOVERY_SECONDS, "events are accepted again")
    written = {
        event["event_id"]
        for record in await gateway.records()
        for event in validate_each(record.value)
        if isinstance(event, dict)
    }
    assert {f"550e8400-e29b-41d4-a716-{number:012}" for number in accepted} <= written
    await wait_until_async(gateway.is_ready, RECOVERY_SECONDS, "ready again")


@pytest.mark.parametrize("fault", ["pause", "kill"])
async def test_without_postgres_verified_keys_go_on(
    gateway: RealGateway,
    local_servers: LocalServers,
    ledger: psycopg.Connection[Any],
    fault: str,
) -> None:
    """A known key works, an unknown one is 503 and never 401, and all ends with the outage."""
    assert local_servers.postgres is not None
    add_customer(ledger, "late", "om_test_late")
    assert (await gateway.ingest(batch(1)))[0] == 202
    getattr(local_servers.postgres, fault)()
    try:
        known, _ = await gateway.ingest(batch(1, first=1))
        unknown, answer = await gateway.ingest(batch(1), x_api_key="om_test_late")
        ready, _ = await gateway.get("/ready")
    finally:
        local_servers.postgres.resume()
        local_servers.postgres.start()

    assert known == 202
    assert (unknown, answer["cause"]) == (503, "database")
    assert ready == 503

    async def is_known() -> bool:
        body = batch(1, customer_id="late")
        return (await gateway.ingest(body, x_api_key="om_test_late"))[0] in {200, 202}

    await wait_until_async(is_known, RECOVERY_SECONDS, "other keys are known again")

"""How old the oldest event is that the ledger does not hold yet."""

import asyncio
from collections.abc import Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client import REGISTRY

from sinks.settings import SinkSettings
from sinks.unpaid import UnpaidWatch
from tests.integration.operations.kafka_records import create_topic, delete_records
from tests.integration.sinks.ledger import Ledger
from tests.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW_SECONDS = 1_700_000_000.0
NEVER_EXPIRE = {"retention.ms": "-1"}


class Owned:
    """An app that owns partition 0."""

    def assigned(self) -> Iterable[int]:
        return {0}


def shown(name: str) -> float | None:
    """What the page of metrics says of partition 0."""
    return REGISTRY.get_sample_value(f"burnstream_sinks_{name}", {"partition": "0"})


@pytest.fixture
async def settings(empty_ledger: Ledger, kafka_bootstrap: str, topic_prefix: str) -> SinkSettings:
    found = SinkSettings(
        database_url=empty_ledger.url,
        kafka_bootstrap_servers=kafka_bootstrap,
        topic_prefix=topic_prefix,
    )
    await asyncio.to_thread(create_topic, kafka_bootstrap, found.topics.raw, 1, NEVER_EXPIRE)
    await empty_ledger.rows(
        'INSERT INTO "SinkOffset" (topic, partition) VALUES (%s, 0)', found.topics.raw
    )
    return found


@asynccontextmanager
async def watching(settings: SinkSettings) -> "AsyncIterator[UnpaidWatch]":
    watch = UnpaidWatch(settings, Owned(), clock=lambda: NOW_SECONDS)
    try:
        yield watch
    finally:
        await watch.close()


async def write(settings: SinkSettings, *ages_seconds: int, name: str | None = None) -> None:
    """Append records of such ages; in a transaction that is aborted, where it has a name."""
    async with AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, transactional_id=name
    ) as producer:
        if name is not None:
            await producer.begin_transaction()
        for age in ages_seconds:
            moment = int((NOW_SECONDS - age) * 1_000)
            await producer.send_and_wait(
                settings.topics.raw, b"{}", partition=0, timestamp_ms=moment
            )
        if name is not None:
            await producer.abort_transaction()


async def reach(settings: SinkSettings, ledger: Ledger, offset: int) -> None:
    await ledger.rows(
        'UPDATE "SinkOffset" SET next_offset = %s WHERE topic = %s', offset, settings.topics.raw
    )


async def test_the_age_is_that_of_the_record_at_the_ledgers_position(
    settings: SinkSettings, empty_ledger: Ledger
) -> None:
    """It falls as the ledger advances, and is nothing where it has reached the end."""
    async with watching(settings) as watch:
        await watch.look()
        assert (shown("unpaid_records"), shown("oldest_unpaid_seconds")) == (0, 0)
        await write(settings, 500, 90, 7)
        seen = []
        for offset in range(4):
            await reach(settings, empty_ledger, offset)
            await watch.look()
            seen.append((shown("unpaid_records"), shown("oldest_unpaid_seconds")))
        assert seen == [(3, 500), (2, 90), (1, 7), (0, 0)]
        assert shown("next_offset") == 3
        assert REGISTRY.get_sample_value("burnstream_sinks_kafka_up") == 1


async def test_offsets_without_a_record_are_no_waiting_event(settings: SinkSettings) -> None:
    """What an aborted transaction leaves behind never becomes a row, so nothing waits."""
    await write(settings, 500, name=f"{settings.topics.raw}-aborted")
    async with watching(settings) as watch:

        async def is_over() -> bool:
            await watch.look()
            return shown("unpaid_records") == 2

        # The broker answers the abort before it has written what ends the transaction.
        await wait_until_async(is_over, 20, "the transaction's end is in the log")
        assert shown("oldest_unpaid_seconds") == 0


async def test_where_the_oldest_has_expired_the_next_one_tells(settings: SinkSettings) -> None:
    """A log that begins beyond the position makes neither an error nor an age of nothing."""
    await write(settings, 500, 90, 7)
    await asyncio.to_thread(
        delete_records, settings.kafka_bootstrap_servers, settings.topics.raw, 0, 1
    )
    async with watching(settings) as watch:
        await watch.look()
        assert shown("oldest_unpaid_seconds") == 90

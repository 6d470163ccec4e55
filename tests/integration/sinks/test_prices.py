"""Prices set with SQL reach `usage.prices`; letters that they cover replay themselves."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self, cast

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import RecordMetadata

from schemas.dead_letter import REPLAY_OF_HEADER
from schemas.pricing import PriceBook
from sinks import price_publisher
from sinks.postgres import connect
from sinks.price_publisher import PricePublisher
from sinks.prices import record_value
from sinks.self_replay import SelfReplay
from sinks.settings import SinkSettings
from tests.integration.sinks.ledger import Ledger
from tests.rated_batches import CUSTOMER, charged
from tests.waiting import wait_until_async

WAIT_SECONDS = 20.0
# What the publisher may take of the ten seconds within which a price is in force.
PUBLISHED_WITHIN_SECONDS = 3.0


@pytest.fixture
async def settings(empty_ledger: Ledger, kafka_bootstrap: str, topic_prefix: str) -> SinkSettings:
    found = SinkSettings(
        database_url=empty_ledger.url,
        kafka_bootstrap_servers=kafka_bootstrap,
        topic_prefix=topic_prefix,
    )
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    await admin.create_topics(
        [
            NewTopic(found.topics.prices, 1, 1, topic_configs={"cleanup.policy": "compact"}),
            NewTopic(found.topics.raw, 1, 1),
        ]
    )
    await admin.close()
    return found


@contextlib.asynccontextmanager
async def publishing(settings: SinkSettings) -> AsyncIterator[None]:
    """A publisher at work."""
    task = asyncio.create_task(PricePublisher(settings).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Topic:
    """Follows partition 0 of a topic from its beginning."""

    def __init__(self, settings: SinkSettings, topic: str) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap_servers, enable_auto_commit=False
        )
        self._tp = TopicPartition(topic, 0)
        self.records: list[Any] = []

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._consumer.assign([self._tp])
        await self._consumer.seek_to_beginning(self._tp)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def read(self) -> list[Any]:
        """Return all records so far."""
        found = await self._consumer.getmany(timeout_ms=50)
        self.records += found.get(self._tp, [])
        return self.records

    async def last(self) -> dict[str, Any]:
        """Return the last value of each key."""
        return {r.key.decode(): orjson.loads(r.value) for r in await self.read()}


def _has(topic: Topic, key: str, **fields: Any) -> Callable[[], Awaitable[bool]]:
    async def has() -> bool:
        value = (await topic.last()).get(key)
        return value is not None and all(value[name] == one for name, one in fields.items())

    return has


async def add_price(ledger: Ledger, price: str, cost_type: str, cost: str = "5.00") -> None:
    await ledger.rows(
        'INSERT INTO "ProviderCost" (id, provider, model, cost_type, cost_per_unit, unit_size,'
        " valid_from) VALUES (%s, 'OPENAI', 'gpt-new', %s, %s, 1000000, '2025-01-01Z')",
        price,
        cost_type,
        cost,
    )


async def test_a_price_set_changed_and_deleted_with_sql_is_published(
    empty_ledger: Ledger, settings: SinkSettings
) -> None:
    """Each change within seconds, by revision, the key "revision" last."""
    async with publishing(settings), Topic(settings, settings.topics.prices) as topic:
        await wait_until_async(_has(topic, "revision"), WAIT_SECONDS, "it leads")
        began_at = time.monotonic()
        await add_price(empty_ledger, "p1", "INPUT_TOKEN")
        await wait_until_async(_has(topic, "revision", revision=1), WAIT_SECONDS, "published")
        assert time.monotonic() - began_at < PUBLISHED_WITHIN_SECONDS
        row = (await topic.last())["cost:p1"]["row"]
        assert (row["cost_per_unit"], row["unit_size"]) == ("5.00", "1000000")
        assert row["valid_from"] == "2025-01-01T00:00:00+00:00"
        assert row["valid_until"] is None

        await empty_ledger.rows("UPDATE \"ProviderCost\" SET valid_until = '2026-01-01Z'")
        await wait_until_async(_has(topic, "revision", revision=2), WAIT_SECONDS, "ended")
        assert (await topic.last())["cost:p1"]["row"]["valid_until"] == "2026-01-01T00:00:00+00:00"

        await empty_ledger.rows('DELETE FROM "ProviderCost"')
        await wait_until_async(_has(topic, "revision", revision=3), WAIT_SECONDS, "deleted")
        assert (await topic.last())["cost:p1"] == {"revision": 3, "deleted": True, "row": {}}
        assert topic.records[-1].key == b"revision"


async def test_one_publisher_leads_and_the_next_takes_over_without_repeating(
    empty_ledger: Ledger, settings: SinkSettings
) -> None:
    """What stands in the topic is not written again; what a former leader wrote late is."""
    async with publishing(settings), Topic(settings, settings.topics.prices) as topic:
        await add_price(empty_ledger, "p1", "INPUT_TOKEN")
        await wait_until_async(_has(topic, "cost:p1"), WAIT_SECONDS, "published")
    async with Topic(settings, settings.topics.prices) as topic:
        before = len(await topic.read())
        producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
        await producer.start()
        async with publishing(settings):
            await empty_ledger.rows('DELETE FROM "ProviderCost"')
            await wait_until_async(
                _has(topic, "cost:p1", deleted=True), WAIT_SECONDS, "the next leads"
            )
            written = [r.key for r in topic.records[before:]]
            assert written.count(b"cost:p1") == 1
            await producer.send_and_wait(
                settings.topics.prices, record_value(1, {"id": "p1"}), key=b"cost:p1", partition=0
            )
            await wait_until_async(_has(topic, "cost:p1", deleted=False), WAIT_SECONDS, "late")
            await wait_until_async(_has(topic, "cost:p1", deleted=True), WAIT_SECONDS, "mended")
        await producer.stop()


async def test_a_revision_below_the_published_one_is_raised(
    empty_ledger: Ledger, settings: SinkSettings
) -> None:
    """After a restore readers would keep the old prices for ever: their revisions are higher."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    await producer.send_and_wait(
        settings.topics.prices, record_value(41, {"id": "old"}), key=b"cost:old", partition=0
    )
    await producer.stop()
    await add_price(empty_ledger, "p1", "INPUT_TOKEN")
    async with publishing(settings), Topic(settings, settings.topics.prices) as topic:
        await wait_until_async(_has(topic, "cost:p1", revision=42), WAIT_SECONDS, "raised")
        await wait_until_async(_has(topic, "cost:old", deleted=True), WAIT_SECONDS, "deleted")


async def test_rows_that_are_no_prices_are_not_published(
    empty_ledger: Ledger, settings: SinkSettings
) -> None:
    """A cost of NaN or rules of nonsense stay away; the sound rows go through."""
    await empty_ledger.add_customer(CUSTOMER)
    await add_price(empty_ledger, "nan", "INPUT_TOKEN", "NaN")
    await add_price(empty_ledger, "sound", "OUTPUT_TOKEN")
    for name, rules in (("bad", {"m": {"per_unit": 0}}), ("good", {"m": {"flat_rate": "2.5"}})):
        await empty_ledger.rows(
            'INSERT INTO "BurnTable" (id, customer_id, name, rules, valid_until)'
            " VALUES (%s, %s, %s, %s::jsonb, 'infinity')",
            name,
            CUSTOMER,
            name,
            json.dumps(rules),
        )
    async with publishing(settings), Topic(settings, settings.topics.prices) as topic:
        await wait_until_async(_has(topic, "revision", revision=4), WAIT_SECONDS, "published")
        last = await topic.last()
    assert set(last) == {"cost:sound", "burn-table:good", "revision"}
    assert last["burn-table:good"]["row"]["rules"] == {"m": {"flat_rate": "2.5"}}


async def add_letter(ledger: Ledger, offset: int, model: str, reason: str = "UNPRICED") -> None:
    await ledger.rows(
        'INSERT INTO "DeadLetter" (partition, epoch, "offset", index, customer_id, reason,'
        " message, payload, found_by) VALUES (0, 0, %s, 2, %s, %s, 'no price', %s,"
        " 'streams')",
        offset,
        CUSTOMER,
        reason,
        orjson.dumps(charged(0, model=model)["event"]),
    )


async def test_letters_without_a_price_replay_themselves_once_one_covers_them(
    empty_ledger: Ledger, settings: SinkSettings
) -> None:
    """Of two letters the one whose model gets prices is written to the raw topic, once."""
    await add_letter(empty_ledger, 0, "gpt-new")
    await add_letter(empty_ledger, 1, "gpt-other")
    async with publishing(settings), Topic(settings, settings.topics.raw) as raw:
        await add_price(empty_ledger, "p1", "INPUT_TOKEN")
        await add_price(empty_ledger, "p2", "OUTPUT_TOKEN")
        await wait_until_async(_is_replayed(empty_ledger), WAIT_SECONDS, "it is marked")
        await wait_until_async(raw.read, WAIT_SECONDS, "the replay is read")

    (row,) = await empty_ledger.rows(
        'SELECT resolved_by, replays, replayed_as FROM "DeadLetter" WHERE "offset" = 0'
    )
    assert row == {"resolved_by": "price-publisher", "replays": 1, "replayed_as": "0:0"}
    (record,) = raw.records
    assert dict(record.headers)[REPLAY_OF_HEADER] == b"0:0:0:2"
    assert (record.key, orjson.loads(record.value)["model"]) == (CUSTOMER.encode(), "gpt-new")
    assert await empty_ledger.value('SELECT status FROM "DeadLetter" WHERE "offset" = 1') == "OPEN"


async def test_a_leader_who_finds_all_prices_published_replays_letters_too(
    empty_ledger: Ledger, settings: SinkSettings
) -> None:
    """A letter that came while nobody led is not left until the next change of a price."""
    await add_price(empty_ledger, "p1", "INPUT_TOKEN")
    await add_price(empty_ledger, "p2", "OUTPUT_TOKEN")
    async with publishing(settings), Topic(settings, settings.topics.prices) as topic:
        await wait_until_async(_has(topic, "revision", revision=2), WAIT_SECONDS, "published")
    await add_letter(empty_ledger, 0, "gpt-new")
    async with publishing(settings):
        await wait_until_async(_is_replayed(empty_ledger), WAIT_SECONDS, "it is marked")


async def test_letters_called_a_duplicate_of_nothing_replay_themselves(
    empty_ledger: Ledger, settings: SinkSettings
) -> None:
    """No person is needed, and no new price; letters of other reasons stay."""
    await add_price(empty_ledger, "p1", "INPUT_TOKEN")
    await add_price(empty_ledger, "p2", "OUTPUT_TOKEN")
    await add_letter(empty_ledger, 0, "gpt-new", "UNKNOWN_CUSTOMER")
    await add_letter(empty_ledger, 1, "gpt-new", "ORIGINAL_NOT_CHARGED")
    async with publishing(settings), Topic(settings, settings.topics.raw) as raw:
        await wait_until_async(_is_replayed(empty_ledger), WAIT_SECONDS, "it is marked")
        await wait_until_async(raw.read, WAIT_SECONDS, "the replay is read")

    (record,) = raw.records
    assert dict(record.headers)[REPLAY_OF_HEADER] == b"0:0:1:2"
    rows = await empty_ledger.rows('SELECT status FROM "DeadLetter" ORDER BY "offset"')
    assert [row["status"] for row in rows] == ["OPEN", "REPLAYED"]


class NoPlaceProducer:
    """A producer whose broker had every record already and does not know where."""

    async def send(self, topic: str, **_: Any) -> asyncio.Future[RecordMetadata]:
        sent: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        sent.set_result(RecordMetadata(topic, 0, TopicPartition(topic, 0), -1, -1, 1, 0))
        return sent


async def test_a_replay_whose_place_kafka_does_not_say_is_marked_without_one(
    empty_ledger: Ledger,
) -> None:
    """The audit must not look for it at a place where it is not."""
    await add_letter(empty_ledger, 0, "any", "ORIGINAL_NOT_CHARGED")
    free = orjson.dumps(charged(0, event_type="API_CALL")["event"])
    await empty_ledger.rows('UPDATE "DeadLetter" SET payload = %s', free)
    async with await connect(empty_ledger.url) as connection:
        replay = SelfReplay(connection, cast("AIOKafkaProducer", NoPlaceProducer()), "raw", 10)
        replay.prices_changed(PriceBook(1, []), 0.0)
        assert await replay.round(100.0) == 1

    (row,) = await empty_ledger.rows('SELECT status, replays, replayed_as FROM "DeadLetter"')
    assert row == {"status": "REPLAYED", "replays": 1, "replayed_as": None}


async def test_a_producer_that_does_not_end_is_left_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kafka is away with records at hand: the lead is given up all the same."""
    closed: list[str] = []

    class Endless:
        def __init__(self, name: str = "") -> None:
            self.name = name

        async def stop(self) -> None:
            await asyncio.Event().wait()

        async def close(self) -> None:
            closed.append(self.name)

        @property
        def _sender(self) -> "Endless":
            return Endless("sender")

        @property
        def client(self) -> "Endless":
            return Endless("client")

    monkeypatch.setattr(price_publisher, "STOP_TIMEOUT_SECONDS", 0.01)
    async with asyncio.timeout(5):
        await price_publisher._stop(cast("AIOKafkaProducer", Endless()))

    assert closed == ["sender", "client"]


def _is_replayed(ledger: Ledger) -> Callable[[], Awaitable[bool]]:
    async def is_replayed() -> bool:
        return bool(await ledger.rows("SELECT 1 FROM \"DeadLetter\" WHERE status = 'REPLAYED'"))

    return is_replayed

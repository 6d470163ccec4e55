"""A console in this process over the session's real Kafka and Postgres, and a small ledger."""

import asyncio
from array import array
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from aiokafka import AIOKafkaProducer

from deploy.console.actions import Actions
from deploy.console.admin_keys import AdminKeys
from deploy.console.app import build_app
from deploy.console.letters import ACTIONS
from deploy.console.settings import ConsoleSettings
from deploy.runtime.settings import RuntimeSettings
from schemas.rated import FOLD_HEADER, Fold, Kind, RatedBatch, encode_batch, pack_fold
from sinks.topic_admin import ensure_topics
from tests.integration.operations import small_ledger
from tests.rated_batches import charged
from tests.waiting import wait_until_async

KEY = "0123456789abcdef"
BOB_KEY = "fedcba9876543210"
CHARGED_EVENT = "00000000-0000-4000-8000-000000000001"


@dataclass
class Console:
    """A running console, and a client that shows no key unless it is told to."""

    client: TestClient[Any, Any]

    async def get(self, path: str, key: str = KEY) -> Any:
        """Return what a program is told, as JSON."""
        async with self.client.get(path, headers={"X-API-Key": key}) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def act(self, **form: str) -> Any:
        """Do something to letters as a program; return the action when it has ended."""
        async with self.client.post(
            "/dead-letters/act", data=form, headers={"X-API-Key": KEY}
        ) as answer:
            assert answer.status == 200, await answer.text()
            path = answer.url.path

        async def ended() -> Any:
            found = await self.get(path)
            return None if found["is_running"] else found["action"]

        return await wait_until_async(ended, 30, "the action ends")

    async def log_in(self, key: str = KEY) -> ClientResponse:
        """Log in as a browser does; the client keeps the cookie."""
        return await self.client.post("/login", data={"key": key}, allow_redirects=False)

    @property
    def actions(self) -> Actions:
        """What the console remembers of its actions."""
        assert self.client.app is not None
        actions: Actions = self.client.app[ACTIONS]
        return actions


@pytest.fixture
def runtime(database_url: str, kafka_bootstrap: str, topic_prefix: str) -> RuntimeSettings:
    return RuntimeSettings(
        database_url=database_url,
        kafka_bootstrap_servers=kafka_bootstrap,
        topic_prefix=topic_prefix,
    )


@pytest.fixture
def ledger(runtime: RuntimeSettings) -> Iterator[psycopg.Connection[Any]]:
    """The small ledger under this test's topics."""
    with psycopg.connect(runtime.database_url, autocommit=True) as connection:
        small_ledger.build(connection)
        for table in ("RatedBatch", "SinkOffset"):
            connection.execute(
                f'UPDATE "{table}" SET topic = %s'.encode(),  # noqa: S608 -- our tables
                [runtime.topics.raw],
            )
        # What the streams' entry of that event says of its price, and the rows of it.
        connection.execute(
            'UPDATE "UsageEvent" SET price_ids = %s, credits_burned = 15, cost_usd = 0.015, '
            "event_type = 'TOKEN_USAGE', provider = 'OPENAI', model = 'gpt-4-turbo', "
            "input_tokens = 1000, output_tokens = 500 WHERE id = %s",
            [["price-in", "price-out"], CHARGED_EVENT],
        )
        for price, cost_type, cost in (
            ("price-in", "INPUT_TOKEN", "5"),
            ("price-out", "OUTPUT_TOKEN", "20"),
        ):
            connection.execute(
                'INSERT INTO "ProviderCost" (id, provider, model, cost_type, cost_per_unit, '
                "unit_size, valid_from) VALUES (%s, 'OPENAI', 'gpt-4-turbo', %s, %s, 1000000, "
                "'2020-01-01')",
                [price, cost_type, cost],
            )
        yield connection


@pytest.fixture
def logs(runtime: RuntimeSettings, ledger: psycopg.Connection[Any]) -> None:
    """What partition 0 of the small ledger came from, two records that are not rated yet."""
    asyncio.run(_fill_logs(runtime, ledger))


async def _fill_logs(runtime: RuntimeSettings, connection: psycopg.Connection[Any]) -> None:
    await ensure_topics(runtime, connection, 2)
    entry = charged(1, event_id=CHARGED_EVENT, customer_id="c1")
    batches = [
        RatedBatch(0, 0, 3, 1, [(0, 1)], [entry]),
        RatedBatch(0, 3, 6, 1, [(3, 1)], []),
    ]
    producer = AIOKafkaProducer(bootstrap_servers=runtime.kafka_bootstrap_servers)
    await producer.start()
    try:
        for number in range(8):
            value = b'{"event_id": "%d", "text": "\xc3\xa4"}' % number
            await producer.send_and_wait(runtime.topics.raw, value, key=b"c1", partition=0)
        for batch in batches:
            fold = Fold(
                Kind.RATED, batch.first_offset, batch.next_offset, [(0, 1)], array("q"), b""
            )
            await producer.send_and_wait(
                runtime.topics.rated,
                encode_batch(batch),
                partition=0,
                headers=[(FOLD_HEADER, pack_fold(fold))],
            )
    finally:
        await producer.stop()


@pytest.fixture
def console_settings(runtime: RuntimeSettings) -> ConsoleSettings:
    return ConsoleSettings(**runtime.model_dump(), metrics_targets="127.0.0.1:1")


@pytest.fixture
async def console(
    ledger: psycopg.Connection[Any], console_settings: ConsoleSettings
) -> AsyncIterator[Console]:
    assert ledger.info.dbname in console_settings.database_url
    app = build_app(console_settings, AdminKeys.parse(f"ada:{KEY},bob:{BOB_KEY}"))
    async with TestClient(TestServer(app)) as client:
        yield Console(client)

"""A gateway in this process over the session's real Kafka, Postgres and Redis."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import psycopg
import pytest
from aiohttp import ClientResponse, ClientSession, web
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from deploy.local.servers import LocalServers
from deploy.runtime.kafka import reader_options
from gateway.app import build_app, wire
from gateway.auth import hash_of
from gateway.connections import make_runner
from gateway.settings import GatewaySettings
from schemas.topics import PARTITIONS_DEFAULT
from sinks.topic_admin import ensure_topics
from tests.api_conformance import require_conformance
from tests.integration.gateway.hostile import HostedGateway, hosted_gateway
from tests.unit.gateway.fakes import API_KEY, CUSTOMER


@dataclass
class RealGateway:
    """A running gateway, a client of it, and what lies behind it."""

    url: str
    client: ClientSession
    settings: GatewaySettings
    headers: dict[str, str] = field(
        default_factory=lambda: {"x-api-key": API_KEY, "content-type": "application/json"}
    )

    async def post(self, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        """Post; return status and JSON."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.post(
            self.url + path, data=BytesIO(body), headers=self.headers | named
        ) as answer:
            return answer.status, await _json("POST", path, answer)

    async def ingest(self, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        """Post events."""
        return await self.post("/v1/events/ingest", body, **headers)

    async def get(self, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
        """Get; return status and JSON."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.get(self.url + path, headers=self.headers | named) as answer:
            return answer.status, await _json("GET", path, answer)

    async def is_ready(self) -> bool:
        """Whether /ready says so."""
        return (await self.get("/ready"))[0] == 200

    async def records(self) -> list[ConsumerRecord[bytes, bytes]]:
        """Every record of usage.raw."""
        return await read_all(self.settings)


async def _json(method: str, path: str, answer: ClientResponse) -> dict[str, Any]:
    """Return the answer's JSON, which must be as the API document has it."""
    found: dict[str, Any] = await answer.json()
    require_conformance(method, path, answer.status, found)
    return found


async def read_all(settings: GatewaySettings) -> list[ConsumerRecord[bytes, bytes]]:
    """Read usage.raw from its beginning to its present end."""
    consumer = AIOKafkaConsumer(**reader_options(settings, "test"))
    await consumer.start()
    try:
        partitions = [
            TopicPartition(settings.topics.raw, number) for number in range(PARTITIONS_DEFAULT)
        ]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning()
        found: list[ConsumerRecord[bytes, bytes]] = []
        while any([await consumer.position(one) < ends[one] for one in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found.extend(records)
        return found
    finally:
        await consumer.stop()


@pytest.fixture
def ledger(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to the test's database, with one customer in it."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        add_customer(connection, CUSTOMER, API_KEY)
        yield connection


def add_customer(connection: psycopg.Connection[Any], customer_id: str, api_key: str) -> None:
    """Insert a customer as the guide does it, by SQL."""
    connection.execute(
        'INSERT INTO "Customer" (id, name, email, api_key_hash) VALUES (%s, %s, %s, %s)',
        [customer_id, customer_id, f"{customer_id}@example.com", hash_of(api_key)],
    )


@pytest.fixture
async def settings(
    kafka_bootstrap: str,
    database_url: str,
    redis_url: str,
    topic_prefix: str,
    ledger: psycopg.Connection[Any],
) -> GatewaySettings:
    found = GatewaySettings(
        _env_file=None,
        kafka_bootstrap_servers=kafka_bootstrap,
        database_url=database_url,
        redis_url=redis_url,
        topic_prefix=topic_prefix,
        host="127.0.0.1",
        port=0,
        rate_limit_max=0,
        produce_timeout_seconds=1.5,
        redis_pause_seconds=0.5,
        database_timeout_seconds=1.0,
        database_pause_seconds=0.5,
    )
    await ensure_topics(found, ledger)
    return found


@pytest.fixture(scope="module")
def hosted_settings(
    local_servers: LocalServers, migrated_template: str
) -> Iterator[GatewaySettings]:
    """What a gateway needs that a module's tests share: a process takes seconds to start."""
    kafka, postgres, redis = local_servers.kafka, local_servers.postgres, local_servers.redis
    if kafka is None or postgres is None or redis is None:
        pytest.skip("not every server on this machine")
    for server in (kafka, postgres, redis):
        server.start()  # An earlier test may have killed it.
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres.url_of("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_template}".encode())
        settings = GatewaySettings(
            _env_file=None,
            kafka_bootstrap_servers=local_servers.kafka_bootstrap,
            database_url=postgres.url_of(name),
            redis_url=redis.url,
            topic_prefix=f"t{uuid.uuid4().hex[:10]}-",
        )
        with psycopg.connect(settings.database_url, autocommit=True) as connection:
            add_customer(connection, CUSTOMER, API_KEY)
            asyncio.run(ensure_topics(settings, connection))
        yield settings
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def hosted(
    hosted_settings: GatewaySettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HostedGateway]:
    """The real process, shared by the tests of a module."""
    with hosted_gateway(hosted_settings, tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


class Gateways:
    """Starts gateways over the same servers."""

    def __init__(self, settings: GatewaySettings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack

    async def start(self, **changed: Any) -> RealGateway:
        """Start one more, with other settings where named."""
        settings = self._settings.model_copy(update=changed)
        runner = make_runner(wire(build_app(settings)), settings)
        self._stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = await self._stack.enter_async_context(ClientSession())
        return RealGateway(f"http://127.0.0.1:{runner.addresses[0][1]}", client, settings)


@pytest.fixture
async def gateways(settings: GatewaySettings) -> AsyncIterator[Gateways]:
    async with AsyncExitStack() as stack:
        yield Gateways(settings, stack)


@pytest.fixture
async def gateway(gateways: Gateways) -> RealGateway:
    return await gateways.start()

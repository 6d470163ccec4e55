"""Fixtures of every ring. Rings that need servers share one Kafka, Postgres and Redis per session.

local_servers    the embedded servers themselves (session); for tests that stop or kill one
kafka_bootstrap  host:port             topic_prefix  a prefix no other test uses
database_url     a fresh database, migrated (one per test, dropped afterwards)
redis_url        an empty database of Redis
"""

import itertools
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from deploy.local.ports import CannotStart
from deploy.local.postgres_server import PostgresServer
from deploy.local.servers import REPOSITORY, LocalServers

ARTEFACTS = REPOSITORY / "test-artefacts"
TEMPLATE = "template_migrated"
# The quick ones first: what is plainly broken shows within seconds.
RINGS = ["unit", "property", "contract", "integration", "browser", "e2e", "crash"]
RINGS_WITHOUT_SERVERS = {"unit", "property"}
RINGS_WITH_MARKER = {"integration", "crash", "e2e", "browser"}
REDIS_DATABASES = 16


def pytest_configure() -> None:
    # Addresses and limits of a developer's own shell must not reach the processes under test.
    example = (REPOSITORY / ".env.example").read_text()
    for variable in re.findall(r"^#([A-Z_]+)=", example, re.MULTILINE):
        os.environ.pop(variable, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_ring_number)
    for item in items:
        ring = _ring(item)
        if ring in RINGS_WITH_MARKER:
            item.add_marker(ring)
        fixtures = getattr(item, "fixturenames", ())
        if ring in RINGS_WITHOUT_SERVERS and "local_servers" in fixtures:
            raise pytest.UsageError(f"{item.nodeid}: the {ring} ring starts no servers")


def _ring(item: pytest.Item) -> str:
    return item.path.relative_to(REPOSITORY / "tests").parts[0]


def _ring_number(item: pytest.Item) -> int:
    ring = _ring(item)
    return RINGS.index(ring) if ring in RINGS else len(RINGS)


@pytest.fixture(scope="session")
def local_servers() -> Iterator[LocalServers]:
    with tempfile.TemporaryDirectory(prefix="burnstream-test-") as folder:
        # Root's Postgres runs as another user, who must get at its data.
        Path(folder).chmod(0o755)
        servers = LocalServers(Path(folder), kafka_port=0, postgres_port=0, redis_port=0)
        try:
            servers.start()
        except CannotStart as reason:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no servers on this machine: {reason}")
        yield servers
        servers.stop()
        for log in Path(folder).glob("*/server.log"):
            kept = ARTEFACTS / "servers" / f"{log.parent.name}.log"
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(log, kept)


@pytest.fixture
def kafka_bootstrap(local_servers: LocalServers) -> str:
    assert local_servers.kafka is not None
    local_servers.kafka.start()  # An earlier test may have killed it.
    return local_servers.kafka_bootstrap


@pytest.fixture
def topic_prefix() -> str:
    return f"t{uuid.uuid4().hex[:10]}-"


@pytest.fixture(scope="session")
def migrated_template(local_servers: LocalServers) -> str:
    from sinks.migrations import migrate

    postgres = _postgres(local_servers)
    _execute(postgres, f"CREATE DATABASE {TEMPLATE}")
    migrate(postgres.url_of(TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database_url(local_servers: LocalServers, migrated_template: str) -> Iterator[str]:
    postgres = _postgres(local_servers)
    name = f"test_{uuid.uuid4().hex[:12]}"
    _execute(postgres, f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    yield postgres.url_of(name)
    _execute(_postgres(local_servers), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def redis_database_numbers() -> Iterator[int]:
    return itertools.cycle(range(REDIS_DATABASES))


@pytest.fixture
def redis_url(local_servers: LocalServers, redis_database_numbers: Iterator[int]) -> str:
    if local_servers.redis is None:
        pytest.skip("no redis-server for this machine")
    local_servers.redis.start()
    address = local_servers.redis.url.removesuffix("0") + str(next(redis_database_numbers))
    with redis.Redis.from_url(address) as client:
        client.flushdb()
    return address


@pytest.fixture
def addresses(
    kafka_bootstrap: str, database_url: str, redis_url: str, topic_prefix: str
) -> dict[str, str]:
    """The session's servers, a database and topics of the test's own."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "TOPIC_PREFIX": topic_prefix,
    }


def _postgres(servers: LocalServers) -> PostgresServer:
    assert servers.postgres is not None
    servers.postgres.start()  # An earlier test may have killed it.
    return servers.postgres


def _execute(postgres: PostgresServer, statement: str) -> None:
    with psycopg.connect(postgres.url_of("postgres"), autocommit=True) as connection:
        connection.execute(statement.encode())

"""The gateway's real application over stand-ins for Postgres, Redis and Kafka."""
# ruff: noqa: ARG002 -- stand-ins keep the signatures of what they stand for

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, web
from limits.aio.storage import RedisStorage

from gateway.app import build_app
from gateway.auth import AUTHENTICATOR, Authenticator, hash_of
from gateway.batches import BATCH_IDS, BatchIds
from gateway.circuit_breaker import CircuitBreaker
from gateway.connections import make_runner
from gateway.duplicates import DUPLICATE_ADVICE, DuplicateAdvice, connect
from gateway.errors import ApiError  # noqa: TC001 -- tests have no circular imports to mend
from gateway.health import READINESS, Readiness
from gateway.postgres import POSTGRES, Postgres, Row, unavailable
from gateway.producer import RAW_PRODUCER, Headers, RawProducer, Written
from gateway.rate_limit import RATE_LIMITER, RateLimiter
from gateway.settings import GatewaySettings
from schemas.dead_letter import FORMAT_HEADER

CUSTOMER = "cust"
API_KEY = "om_test_" + "0" * 48
EVENT: dict[str, Any] = {
    "event_id": "550e8400-e29b-41d4-a716-446655440001",
    "customer_id": CUSTOMER,
    "event_type": "TOKEN_USAGE",
    "feature_id": "f",
    "timestamp": "2025-01-17T14:30:00Z",
}


class FakePostgres(Postgres):
    """Answers every question with the rows that a test laid down; away when told so."""

    def __init__(self, settings: GatewaySettings) -> None:
        super().__init__(settings)
        self.is_away = False
        self.rows: list[Row] = []
        self.questions: list[str] = []

    async def fetch(self, query: str, values: Any = None) -> list[Row]:
        self.questions.append(query)
        # Others run while a real database is asked.
        await asyncio.sleep(0)
        if self.is_away:
            raise unavailable()
        return self.rows

    async def is_connected(self) -> bool:
        return not self.is_away


class FakeAuthenticator(Authenticator):
    """Knows one key."""

    def is_remembered(self, key_hash: str) -> bool:
        return True

    async def customer_of(self, key_hash: str) -> str | None:
        return CUSTOMER if key_hash == hash_of(API_KEY) else None


class FakeBatchIds(BatchIds):
    """Has a secret without a database."""

    async def secret(self) -> bytes:
        return b"secret"


class FakeProducer(RawProducer):
    """Keeps what is written; fails when told so."""

    def __init__(self, settings: GatewaySettings) -> None:
        super().__init__(settings)
        self.written: list[bytes] = []
        self.error: ApiError | None = None

    async def write(
        self, key: bytes, values: Sequence[bytes], headers: Headers = (FORMAT_HEADER,)
    ) -> Written:
        if self.error is not None:
            raise self.error
        first = len(self.written)
        self.written.extend(values)
        return Written(0, tuple(range(first, len(self.written))))

    async def is_connected(self, timeout_seconds: float) -> bool:
        return self.error is None


class FakeAdvice(DuplicateAdvice):
    """Remembers in a set."""

    def __init__(self, settings: GatewaySettings) -> None:
        super().__init__(connect(settings), settings, CircuitBreaker("redis", 1.0))
        self.known: set[bytes] = set()

    async def remembered(self, identities: Sequence[bytes]) -> list[bool]:
        return [one in self.known for one in identities]

    async def remember(self, identities: Sequence[bytes]) -> None:
        self.known.update(identities)


@dataclass
class Gateway:
    """A running gateway and a client of it."""

    url: str
    client: ClientSession
    producer: FakeProducer
    postgres: FakePostgres
    advice: FakeAdvice
    headers: dict[str, str] = field(
        default_factory=lambda: {"x-api-key": API_KEY, "content-type": "application/json"}
    )

    async def post(self, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        """Post a body; return status and JSON."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.post(
            self.url + path, data=body, headers=self.headers | named
        ) as answer:
            return answer.status, await answer.json()

    async def ingest(self, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        """Post events; return status and JSON."""
        return await self.post("/v1/events/ingest", body, **headers)


def limiter_in_memory(settings: GatewaySettings) -> RateLimiter:
    """Return the real rate limiter, as it is while Redis is away."""
    breaker = CircuitBreaker("redis", pause_seconds=1e9)
    breaker.failed(ConnectionError("no Redis in this ring"))
    storage = RedisStorage("redis://127.0.0.1:1/0", implementation="redispy")
    return RateLimiter(settings, storage, breaker)


@asynccontextmanager
async def running_gateway(**environment: Any) -> AsyncIterator[Gateway]:
    """Serve on a free port; settings by name of their field."""
    settings = GatewaySettings(_env_file=None, **{"rate_limit_max": 0} | environment)
    app = build_app(settings)
    postgres, producer, advice = (
        FakePostgres(settings),
        FakeProducer(settings),
        FakeAdvice(settings),
    )
    app[POSTGRES] = postgres
    app[RAW_PRODUCER] = producer
    app[DUPLICATE_ADVICE] = advice
    app[AUTHENTICATOR] = FakeAuthenticator(postgres, settings)
    app[BATCH_IDS] = FakeBatchIds(postgres)
    app[RATE_LIMITER] = limiter_in_memory(settings)
    app[READINESS] = Readiness(postgres, producer, settings)
    runner = make_runner(app, settings)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with ClientSession() as client:
        yield Gateway(f"http://127.0.0.1:{port}", client, producer, postgres, advice)
    await runner.cleanup()

"""A synthetic event now and then, from acceptance to its row: whether the whole way works.

It costs no credits (an API_CALL is free) and belongs to a customer of its own, CANARY_CUSTOMER_ID.
It goes the way of every event behind the API key: validated, written, rated, applied.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
import structlog
from aiohttp import web

from gateway import ingest, metrics
from gateway.errors import UnavailableError
from gateway.handlers import SETTINGS
from gateway.postgres import POSTGRES, Postgres
from gateway.producer import RAW_PRODUCER, RawProducer, RecordRefusedError
from gateway.settings import GatewaySettings

_log = structlog.get_logger("gateway")

POLL_SECONDS = 0.25
# While nothing arrives the oldest one says how long; newer ones say nothing more.
WAITING_MAX = 20

_FIND = """
SELECT id::text AS event_id FROM "UsageEvent"
WHERE customer_id = %(customer)s AND id = ANY(%(events)s::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """An event on its way. `sent_at`: seconds of the clock, also where Kafka did not take it."""

    event_id: str
    sent_at: float


class Waiting:
    """Canaries that have no row yet, in the order in which they were sent. No I/O, no clock."""

    def __init__(self) -> None:
        self._sent: list[Sent] = []
        self._since: float | None = None

    @property
    def event_ids(self) -> list[str]:
        """What to look for."""
        return [one.event_id for one in self._sent]

    def send(self, event_id: str, now: float) -> None:
        """Note that an event goes on its way."""
        if self._since is None:
            self._since = now
        self._sent = [*self._sent, Sent(event_id, now)][-WAITING_MAX:]

    def arrive(self, event_ids: Collection[str], now: float) -> list[float]:
        """Note rows; return the seconds that each took.

        One customer's events keep their order: what is older than a row and has none is lost.
        """
        places = [place for place, one in enumerate(self._sent) if one.event_id in event_ids]
        if not places:
            return []
        seconds = [now - self._sent[place].sent_at for place in places]
        self._sent = self._sent[places[-1] + 1 :]
        self._since = self._sent[0].sent_at if self._sent else None
        return seconds

    def pending_seconds(self, now: float) -> float:
        """Return how long nothing has arrived that should have."""
        return 0.0 if self._since is None else now - self._since


class Canary:
    """Sends one event per interval and looks for its row."""

    def __init__(
        self,
        settings: GatewaySettings,
        producer: RawProducer,
        postgres: Postgres,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._customer_id = settings.canary_customer_id
        self._interval_seconds = settings.canary_seconds
        self._policy = settings.timestamp_policy
        self._producer = producer
        self._postgres = postgres
        self._clock = clock
        self._waiting = Waiting()

    async def run(self) -> None:
        """Send and look for ever."""
        due_at = self._clock()
        while True:
            if self._clock() >= due_at:
                due_at += self._interval_seconds
                await self._send()
            if self._waiting.event_ids:
                await self._look()
            metrics.CANARY_PENDING_SECONDS.set(self._waiting.pending_seconds(self._clock()))
            rest = due_at - self._clock()
            await asyncio.sleep(min(POLL_SECONDS, rest) if self._waiting.event_ids else rest)

    async def _send(self) -> None:
        event_id = str(uuid.uuid4())
        self._waiting.send(event_id, self._clock())
        metrics.CANARY_SENT.inc()
        now = datetime.now(UTC)
        event = {
            "event_id": event_id,
            "customer_id": self._customer_id,
            "event_type": "API_CALL",
            "feature_id": "canary",
            "timestamp": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        batch = ingest.read_batch(
            orjson.dumps({"events": [event]}),
            self._customer_id,
            lenient=False,
            now_milliseconds=int(now.timestamp() * 1_000),
            policy=self._policy,
        )
        try:
            await self._producer.write(self._customer_id.encode(), ingest.to_records(batch.events))
        except (UnavailableError, RecordRefusedError) as error:
            _log.warning("The canary's event was not taken", reason=str(error))

    async def _look(self) -> None:
        values = {"customer": self._customer_id, "events": self._waiting.event_ids}
        try:
            rows = await self._postgres.fetch(_FIND, values)
        except UnavailableError:
            return  # It waits on, and the age tells.
        found = {row["event_id"] for row in rows}
        for seconds in self._waiting.arrive(found, self._clock()):
            metrics.CANARY_SECONDS.observe(seconds)


async def keep_canary(app: web.Application) -> AsyncIterator[None]:
    """Run a canary for as long as the application runs, where one is wanted."""
    settings = app[SETTINGS]
    if not settings.canary_customer_id:
        yield
        return
    running = asyncio.create_task(Canary(settings, app[RAW_PRODUCER], app[POSTGRES]).run())
    yield
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running

"""Whether the gateway lives, and whether it can do its work."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from aiohttp import web

from gateway.errors import json_response
from gateway.postgres import Postgres
from gateway.producer import RawProducer
from gateway.settings import GatewaySettings

# /ready is not rate-limited: what it finds out holds for so long.
CHECK_INTERVAL_SECONDS = 1.0


class Readiness:
    """Asks Postgres and Kafka, at most once a second however many ask."""

    def __init__(
        self,
        postgres: Postgres,
        producer: RawProducer,
        settings: GatewaySettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._postgres = postgres
        self._producer = producer
        self._timeout_seconds = settings.database_timeout_seconds
        self._clock = clock
        self._lock = asyncio.Lock()
        self._known: tuple[bool, bool] = (False, False)
        self._known_until = float("-inf")

    async def services(self) -> tuple[bool, bool]:
        """Return whether the database and the queue (Kafka) answer."""
        async with self._lock:
            if self._clock() >= self._known_until:
                self._known = await asyncio.gather(
                    self._postgres.is_connected(),
                    self._producer.is_connected(self._timeout_seconds),
                )
                self._known_until = self._clock() + CHECK_INTERVAL_SECONDS
            return self._known


READINESS = web.AppKey("readiness", Readiness)


async def health(_request: web.Request) -> web.Response:
    """GET /health: the process answers."""
    return json_response({"status": "ok", "timestamp": _now()})


async def ready(request: web.Request) -> web.Response:
    """GET /ready: 200 when events can be taken in and customers found; never about Redis."""
    database, queue = await request.app[READINESS].services()
    body: dict[str, Any] = {
        "status": "ready" if database and queue else "not_ready",
        "timestamp": _now(),
        "services": {"database": _connected(database), "queue": _connected(queue)},
    }
    if database and queue:
        return json_response(body)
    return json_response(body | {"error": "Service dependencies unavailable"}, 503)


async def info(_request: web.Request) -> web.Response:
    """GET /v1/info: what this is and where to ask."""
    return json_response(
        {
            "service": "ingestion-service",
            "version": version("burnstream"),
            "endpoints": {
                "health": "/health",
                "ready": "/ready",
                "ingest": "/v1/events/ingest",
                "batch": "/v1/batches/{batch_id}",
                "event": "/v1/events/{event_id}",
                "void": "/v1/events/{event_id}/void",
                "replace": "/v1/events/{event_id}/replace",
                "dlq": "/v1/events/dlq",
                "dlq_replay": "/v1/events/dlq/replay",
                "openapi": "/openapi.json",
                "docs": "/docs",
            },
        }
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _connected(is_connected: bool) -> str:
    return "connected" if is_connected else "disconnected"

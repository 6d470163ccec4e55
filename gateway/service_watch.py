"""Asks every service now and then: without requests nobody would notice that one is away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway import metrics
from gateway.health import READINESS, Readiness

LOOK_INTERVAL_SECONDS = 5.0


async def look(readiness: Readiness, redis: Redis) -> None:
    """Set the gauge of each service."""
    database, queue = await readiness.services()
    for service, is_up in (
        ("database", database),
        ("queue", queue),
        ("redis", await _answers(redis)),
    ):
        metrics.SERVICE_UP.labels(service).set(is_up)


async def _answers(redis: Redis) -> bool:
    try:
        await redis.ping()
    except (RedisError, OSError, TimeoutError):
        return False
    return True


REDIS = web.AppKey("redis", Redis)


async def watch_services(app: web.Application) -> AsyncIterator[None]:
    """Look for as long as the application runs."""

    async def watch_for_ever() -> None:
        while True:
            await look(app[READINESS], app[REDIS])
            await asyncio.sleep(LOOK_INTERVAL_SECONDS)

    watching = asyncio.create_task(watch_for_ever())
    yield
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching

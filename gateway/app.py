"""The gateway put together: what it holds, what it serves, how it starts and ends."""

import asyncio
import errno
import signal
import socket
import sys
from collections.abc import AsyncIterator

import structlog
from aiohttp import web
from limits.aio.storage import RedisStorage

from deploy.runtime.exit import ExitCode
from deploy.runtime.settings import refuse_setting
from deploy.runtime.tracing import Tracing
from gateway import api_pages, handlers, health
from gateway.auth import AUTHENTICATOR, Authenticator
from gateway.batches import BATCH_IDS, BatchIds
from gateway.bodies import BODY_MEMORY, BodyMemory
from gateway.canary import keep_canary
from gateway.circuit_breaker import CircuitBreaker
from gateway.connections import close_unread, make_runner
from gateway.duplicates import DUPLICATE_ADVICE, DuplicateAdvice, connect
from gateway.errors import add_security_headers, answer_everything
from gateway.postgres import POSTGRES, Postgres
from gateway.producer import RAW_PRODUCER, RawProducer
from gateway.rate_limit import RATE_LIMITER, RateLimiter
from gateway.service_watch import REDIS, watch_services
from gateway.settings import GatewaySettings

_log = structlog.get_logger("gateway")

# Kafka may come later than the gateway: until it is there, answers are 503.
_KAFKA_START_SECONDS = 5.0
# Of the grace period, after the requests under way: records that wait for Kafka.
_FLUSH_SHARE = 0.3
_BACKLOG = 1024


def build_app(settings: GatewaySettings, tracing: Tracing | None = None) -> web.Application:
    """Return the application with its routes, without what it talks to."""
    app = web.Application(
        middlewares=[answer_everything, handlers.identify_and_limit],
    )
    app[handlers.SETTINGS] = settings
    app[handlers.TRACING] = tracing
    app[BODY_MEMORY] = BodyMemory(settings)
    app.router.add_get(handlers.HEALTH_PATH, health.health)
    app.router.add_get("/ready", health.ready)
    app.router.add_get("/v1/info", health.info)
    app.router.add_post("/v1/events/ingest", handlers.ingest_events)
    app.router.add_get("/v1/events/dlq", handlers.list_dead_letters)
    app.router.add_post("/v1/events/dlq/replay", handlers.replay_dead_letters)
    app.router.add_get("/v1/events/{event_id}", handlers.show_event)
    app.router.add_post("/v1/events/{event_id}/void", handlers.void_event)
    app.router.add_post("/v1/events/{event_id}/replace", handlers.replace_event)
    app.router.add_get("/v1/batches/{batch_id}", handlers.show_batch)
    api_pages.add_routes(app.router)
    app.on_response_prepare.append(add_security_headers)
    app.on_response_prepare.append(handlers.add_rate_limit_headers)
    return app


def wire(app: web.Application) -> web.Application:
    """Give the application Postgres, Redis and Kafka, for as long as it runs."""
    app.cleanup_ctx.extend([_postgres, _redis, _kafka, watch_services, keep_canary])
    return app


async def _postgres(app: web.Application) -> AsyncIterator[None]:
    settings = app[handlers.SETTINGS]
    postgres = Postgres(settings)
    await postgres.open()
    app[POSTGRES] = postgres
    app[AUTHENTICATOR] = Authenticator(postgres, settings)
    app[BATCH_IDS] = BatchIds(postgres)
    yield
    await postgres.close()


async def _redis(app: web.Application) -> AsyncIterator[None]:
    settings = app[handlers.SETTINGS]
    redis = connect(settings)
    breaker = CircuitBreaker("redis", settings.redis_pause_seconds)
    storage = RedisStorage(
        settings.redis_url,
        implementation="redispy",
        key_prefix=f"{settings.topic_prefix}burnstream:limit",
        # Typed for what a URL may say; the library hands it on to the client.
        connection_pool=redis.connection_pool,  # type: ignore[arg-type]
    )
    app[REDIS] = redis
    app[DUPLICATE_ADVICE] = DuplicateAdvice(redis, settings, breaker)
    app[RATE_LIMITER] = RateLimiter(settings, storage, breaker)
    yield
    await redis.aclose()
    await redis.connection_pool.disconnect()


async def _kafka(app: web.Application) -> AsyncIterator[None]:
    settings = app[handlers.SETTINGS]
    producer = RawProducer(settings)
    app[RAW_PRODUCER] = producer
    app[health.READINESS] = health.Readiness(app[POSTGRES], producer, settings)
    await producer.start(wait_seconds=_KAFKA_START_SECONDS)
    yield
    await producer.close(settings.shutdown_grace_seconds * _FLUSH_SHARE)


def listen(settings: GatewaySettings) -> socket.socket:
    """Return a bound socket that other gateways on this host may share.

    Ends the process with one line when the port is taken by something else.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            refuse_setting("HOST", settings.host, "an address of this machine")
        reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error}"
        sys.stderr.write(f"PORT={settings.port}: {settings.host}:{settings.port} {reason}\n")
        sys.exit(ExitCode.USAGE)
    listener.setblocking(False)
    close_unread(listener, settings)
    return listener


async def serve(
    settings: GatewaySettings, listener: socket.socket, tracing: Tracing | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way and return."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    runner = make_runner(wire(build_app(settings, tracing)), settings)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=_BACKLOG).start()
    host, port = listener.getsockname()[:2]
    _log.info(f"Ingestion service running on {host}:{port}")
    await ended.wait()
    _log.info("Ingestion service stopping")
    try:
        async with asyncio.timeout(settings.shutdown_grace_seconds):
            await runner.cleanup()
    except TimeoutError:
        _log.warning("Ingestion service stopped before everything was finished")

"""The gateway's questions to Postgres: bounded in time, never in the way of each other."""

import asyncio
from collections.abc import Mapping
from typing import Any

import psycopg
import structlog
from aiohttp import web
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from gateway.circuit_breaker import CircuitBreaker
from gateway.errors import UnavailableError
from gateway.settings import GatewaySettings

_log = structlog.get_logger("gateway")

# Beyond this many waiting questions the next one is refused at once.
WAITING_MAX = 500
READY_QUERY = "SELECT 1 AS one"

Row = dict[str, Any]


class Postgres:
    """A pool of connections behind a deadline and a circuit breaker."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._timeout_seconds = settings.database_timeout_seconds
        self.breaker = CircuitBreaker("database", settings.database_pause_seconds)
        self._running: set[asyncio.Task[list[Row]]] = set()
        self._pool = AsyncConnectionPool(
            settings.database_url,
            min_size=1,
            max_size=settings.database_connections_max,
            max_waiting=WAITING_MAX,
            timeout=self._timeout_seconds,
            # A long one backs off for as long as the outage was; every question tries anew instead.
            reconnect_timeout=1.0,
            check=AsyncConnectionPool.check_connection,
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "application_name": "burnstream-gateway",
                "connect_timeout": max(2, round(self._timeout_seconds)),
            },
            open=False,
        )

    async def open(self) -> None:
        """Start connecting; returns at once, whether Postgres is there or not."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close(timeout=1.0)

    async def fetch(self, query: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        """Return the rows of one statement (its own transaction).

        Raises UnavailableError when Postgres does not answer in time, or answers with an error.
        """
        if not self.breaker.may_try():
            raise unavailable()
        return await self._ask(query, values)

    async def is_connected(self) -> bool:
        """Whether Postgres answers now, whatever the circuit breaker says."""
        try:
            await self._ask(READY_QUERY, None)
        except UnavailableError:
            return False
        return True

    async def _ask(self, query: str, values: Mapping[str, Any] | None) -> list[Row]:
        # A task of its own: to cancel a question to a frozen server takes seconds.
        task = asyncio.create_task(self._run(query, values))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        done, _ = await asyncio.wait({task}, timeout=self._timeout_seconds)
        if not done:
            task.add_done_callback(_forget)
            self.breaker.failed(TimeoutError(f"no answer in {self._timeout_seconds} s"))
            raise unavailable()
        try:
            rows = task.result()
        except (psycopg.OperationalError, PoolTimeout, TooManyRequests) as error:
            self.breaker.failed(error)
            raise unavailable() from None
        except psycopg.errors.UndefinedTable as error:
            _log.error("The database is not migrated: run `burnstream migrate`", reason=str(error))
            raise unavailable() from None
        self.breaker.succeeded()
        return rows

    async def _run(self, query: str, values: Mapping[str, Any] | None) -> list[Row]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), values)
            return await cursor.fetchall() if cursor.description else []  # type: ignore[return-value]


POSTGRES = web.AppKey("postgres", Postgres)


def unavailable() -> UnavailableError:
    """503: Postgres is away."""
    return UnavailableError("database", "The database does not answer. Please try again later.")


def _forget(task: asyncio.Task[list[Row]]) -> None:
    """Take note of a late result, so that its error is not reported as unseen."""
    if not task.cancelled():
        task.exception()

"""The console's questions to Postgres: read-only by the connection itself, bounded in time."""

from functools import cache
from importlib import resources
from typing import Any

import psycopg
from aiohttp import web
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

TIMEOUT_SECONDS = 5
CONNECTIONS_MAX = 4
# What one page shows at most of anything.
ROWS_MAX = 200

Row = dict[str, Any]


class UnavailableError(Exception):
    """Postgres or Kafka does not answer, or not in time; the message is for the operator."""


@cache
def statement(name: str) -> bytes:
    """Return the text of deploy/console/sql/NAME.sql."""
    return (resources.files("deploy.console") / "sql" / f"{name}.sql").read_bytes()


class Ledger:
    """A small pool of connections that can only read."""

    def __init__(self, database_url: str) -> None:
        self._pool = AsyncConnectionPool(
            database_url,
            min_size=0,
            max_size=CONNECTIONS_MAX,
            timeout=TIMEOUT_SECONDS,
            reconnect_timeout=1.0,
            check=AsyncConnectionPool.check_connection,
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "application_name": "burnstream-console",
                "connect_timeout": TIMEOUT_SECONDS,
                "options": "-c default_transaction_read_only=on "
                f"-c statement_timeout={TIMEOUT_SECONDS}s -c TimeZone=UTC",
            },
            open=False,
        )

    async def open(self) -> None:
        """Start connecting; returns at once, whether Postgres is there or not."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close(timeout=1.0)

    async def fetch(self, name: str, **values: Any) -> list[Row]:
        """Return the rows of a statement of deploy/console/sql. Raises UnavailableError, 400."""
        try:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(statement(name), values)
                return await cursor.fetchall()  # type: ignore[return-value]
        except psycopg.errors.QueryCanceled:
            raise UnavailableError(
                f"Postgres needs more than {TIMEOUT_SECONDS} s for this: ask for less at once"
            ) from None
        except psycopg.DataError:
            raise web.HTTPBadRequest(
                text="Postgres has no such value (NUL, or too large)"
            ) from None
        except psycopg.errors.UndefinedTable:
            raise UnavailableError("Postgres is not migrated: run `burnstream migrate`") from None
        except (psycopg.OperationalError, PoolTimeout, TooManyRequests):
            raise UnavailableError("Postgres does not answer (DATABASE_URL)") from None

    async def find(self, name: str, **values: Any) -> Row | None:
        """Return the first row of a statement, None without one. Raises UnavailableError."""
        rows = await self.fetch(name, **values)
        return rows[0] if rows else None


LEDGER = web.AppKey("ledger", Ledger)

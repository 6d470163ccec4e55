"""The sink's connections, what an error of Postgres means, and sinks that hold others up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import psycopg
import structlog
from psycopg.rows import tuple_row

from sinks.batch import Reached
from sinks.copy_rows import SIGNATURE, TRAILER
from sinks.statements import statement

log = structlog.get_logger("postgres")

APPLICATION_NAME = "burnstream-sink"
BLOCKED_SECONDS = 10.0
BLOCKED_POLL_SECONDS = 2.0

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

# A connection whose other end is gone is noticed within half a minute, also while it sends.
_CONNECT_OPTIONS: Mapping[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class Remedy(Enum):
    """What to do about an error of Postgres."""

    AGAIN = "again"  #: deadlock or serialisation failure: the same transaction at once
    WAIT = "wait"  #: unavailable: later, as often as it takes
    STOP = "stop"  #: a bug of ours, or a database that is not the one we know


_AGAIN = ("40001", "40P01")
# Connection, transaction state, resources, operator's intervention, system error, lock timeout,
# read-only (a standby), configuration file, foreign data, internal error.
_UNAVAILABLE_CLASSES = ("08", "25", "53", "57", "58", "55", "F0", "XX")


def remedy_for(error: psycopg.Error) -> Remedy:
    """Tell what to do about an error that is not about one row's values."""
    code = error.sqlstate
    if code in _AGAIN:
        return Remedy.AGAIN
    if code is None:
        is_connection = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return Remedy.WAIT if is_connection else Remedy.STOP
    if code[:2] in _UNAVAILABLE_CLASSES or code.startswith("28"):  # 28: a password being changed
        return Remedy.WAIT
    return Remedy.STOP


def is_about_data(error: psycopg.Error) -> bool:
    """Whether Postgres refuses the values of a row (classes 22 and 23)."""
    return (error.sqlstate or "")[:2] in ("22", "23")


async def connect(database_url: str, application_name: str = APPLICATION_NAME) -> Connection:
    """Open a connection in autocommit: the steps begin and end transactions themselves."""
    return await psycopg.AsyncConnection.connect(
        database_url,
        autocommit=True,
        row_factory=tuple_row,
        application_name=application_name,
        **_CONNECT_OPTIONS,
    )


async def copy_bytes(
    connection: Connection, copy_statement: bytes, pieces: Iterable[bytes]
) -> None:
    """Write rows that are bytes already, some of them in each piece.

    Pieces that are built as they are asked for are built while Postgres works on those before them.
    """
    lead = SIGNATURE
    async with connection.cursor() as cursor, cursor.copy(copy_statement) as copy:
        for piece in pieces:
            await copy.write(lead + piece)
            lead = b""
        await copy.write(lead + TRAILER)


async def copy_values(
    connection: Connection,
    copy_statement: bytes,
    types: Mapping[str, str],
    rows: Sequence[Sequence[Any]],
) -> None:
    """Write rows of values; `types` in the order of the columns. Nothing for no rows."""
    if not rows:
        return
    async with connection.cursor() as cursor, cursor.copy(copy_statement) as copy:
        copy.set_types(list(types.values()))
        for row in rows:
            await copy.write_row(row)


async def read_offsets(
    connection: Connection, topic: str, partitions: Sequence[int]
) -> dict[int, Reached]:
    """Return the SinkOffset rows of partitions, without locks; those that exist."""
    parameters = {"topic": topic, "partitions": list(partitions)}
    cursor = await connection.execute(statement("read_offsets"), parameters)
    return {row[0]: Reached(*row) for row in await cursor.fetchall()}


async def _terminate(database_url: str, name: str, parameters: Mapping[str, Any]) -> list[int]:
    async with await connect(database_url) as connection:
        cursor = await connection.execute(statement(name), parameters)
        pids = [row[0] for row in await cursor.fetchall()]
    for pid in pids:
        log.error("Terminated a sink that held others up", backend_pid=pid)
    return pids


async def terminate_holders(
    connection: Connection, topic: str, partitions: Sequence[int]
) -> list[int]:
    """End the sinks that hold the SinkOffset rows of partitions; return their backends."""
    parameters = {
        "topic": topic,
        "partitions": list(partitions),
        "application": APPLICATION_NAME,
    }
    cursor = await connection.execute(statement("terminate_holders"), parameters)
    pids = [row[0] for row in await cursor.fetchall()]
    for pid in pids:
        log.error("Terminated a sink that held partitions", backend_pid=pid, partitions=partitions)
    return pids


@contextlib.asynccontextmanager
async def unblocking(
    database_url: str, backend_pid: int, blocked_seconds: float = BLOCKED_SECONDS
) -> AsyncIterator[None]:
    """Meanwhile end, from a second connection, any sink that the backend waits for too long.

    A sink that is frozen in the middle of its COPY holds its rows for ever otherwise: neither
    statement_timeout nor keepalives reach it there.
    """
    task = asyncio.create_task(_unblock(database_url, backend_pid, blocked_seconds))
    try:
        yield
    finally:
        task.cancel()


async def _unblock(database_url: str, backend_pid: int, blocked_seconds: float) -> None:
    parameters = {
        "pid": backend_pid,
        "seconds": blocked_seconds,
        "application": APPLICATION_NAME,
    }
    await asyncio.sleep(blocked_seconds)
    while True:
        log.warning("A transaction takes long", seconds_at_least=blocked_seconds)
        try:
            await _terminate(database_url, "terminate_blockers", parameters)
        except psycopg.Error as error:
            log.warning("Cannot look for who blocks", error=str(error))
        await asyncio.sleep(BLOCKED_POLL_SECONDS)


async def rollback(connection: Connection) -> None:
    """Leave whatever transaction there is; a connection that cannot is closed."""
    try:
        await connection.execute(b"ROLLBACK")
    except psycopg.Error:
        await connection.close()


async def within(seconds: float, work: Awaitable[Any]) -> Any:
    """Await something of Postgres that must not hang."""
    async with asyncio.timeout(seconds):
        return await work

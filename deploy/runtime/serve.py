"""Runs a Faust app until a signal, and ends in time whatever happens."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from deploy.runtime import exit as process_exit
from deploy.runtime.runs import RunsApp
from deploy.runtime.watchdog import Watchdog

log = structlog.get_logger("serve")

Close = Callable[[], Awaitable[None]]


async def nothing_to_close() -> None:
    """Stand in for `close` where a process has nothing beside its app."""


@contextmanager
def stop_event(stopping: asyncio.Event | None = None) -> Iterator[asyncio.Event]:
    """Yield what SIGTERM and SIGINT set from here on; `stopping` itself, where it is given."""
    stop = stopping or asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT) if stopping is None else ()
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def is_done_before(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do `work`, unless `stop` is set first: then cancel it. Raises what it raises."""
    doing, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({doing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            return False
        doing.result()
        return True
    finally:
        doing.cancel()
        stopped.cancel()


async def close_in_time(grace_seconds: float, close: Close) -> None:
    """Close; after `grace_seconds` the process ends uncommitted, which loses nothing."""
    log.info("Stopping", grace_seconds=grace_seconds)
    closing = asyncio.ensure_future(close())
    # Not `asyncio.timeout`: a library that swallows the cancellation would hold the process.
    await asyncio.wait({closing}, timeout=grace_seconds)
    if not closing.done():
        process_exit.die("not drained in time", process_exit.ExitCode.FAILED)
    closing.result()


async def serve(
    app: RunsApp,
    *,
    grace_seconds: float,
    stopping: asyncio.Event | None = None,
    close: Close = nothing_to_close,
) -> None:
    """Run `app` until SIGTERM, SIGINT or `stopping`; then drain what is in hand, `close`, return.

    After `grace_seconds` of both the process ends uncommitted, which loses nothing.
    """
    watchdog = Watchdog(app.runs_config.session_timeout_seconds)
    with stop_event(stopping) as stop:
        watchdog.start()
        app.finalize()
        starting = asyncio.create_task(app.start())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await stopped

        async def drain_and_close() -> None:
            await app.stop()
            starting.cancel()
            await close()

        try:
            await close_in_time(grace_seconds, drain_and_close)
        finally:
            watchdog.stop()

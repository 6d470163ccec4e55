"""Runs a Faust app until a signal, and ends in time whatever happens."""

import asyncio
import signal

import structlog

from deploy.runtime import exit as process_exit
from deploy.runtime.runs import RunsApp
from deploy.runtime.watchdog import Watchdog

log = structlog.get_logger("serve")


async def serve(
    app: RunsApp, *, grace_seconds: float, stopping: asyncio.Event | None = None
) -> None:
    """Run `app` until SIGTERM, SIGINT or `stopping`; then drain what is in hand and return.

    After `grace_seconds` of draining the process ends uncommitted, which loses nothing.
    """
    stop = stopping or asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT) if stopping is None else ()
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    watchdog = Watchdog(app.runs_config.session_timeout_seconds)
    watchdog.start()
    app.finalize()
    starting = asyncio.create_task(app.start())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
        await stopped
    log.info("Stopping", grace_seconds=grace_seconds)
    try:
        async with asyncio.timeout(grace_seconds):
            await app.stop()
            starting.cancel()
    except TimeoutError:
        process_exit.die("not drained in time", process_exit.ExitCode.FAILED)
    finally:
        watchdog.stop()
        for number in signals:
            loop.remove_signal_handler(number)

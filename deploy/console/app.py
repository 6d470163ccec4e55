"""The console put together: what it holds, what it serves, how it starts and ends."""

import asyncio
import errno
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import structlog
from aiohttp import web

from deploy.console import access, customers, jobs, letters, pipeline, trace
from deploy.console.actions import Actions
from deploy.console.admin_keys import AdminKeys
from deploy.console.broker import Broker
from deploy.console.ledger import LEDGER, Ledger
from deploy.console.live import ENDING
from deploy.console.pages import json_answer
from deploy.console.sessions import Sessions, WrongKeys
from deploy.console.settings import ConsoleSettings
from deploy.runtime import exit as process_exit
from deploy.runtime.exit import ExitCode

_log = structlog.get_logger("console")

STATIC_FOLDER = Path(__file__).parent / "static"
# A form names up to ten thousand letters.
FORM_BYTES_MAX = 1 << 20
# Of the grace period: what requests under way may take; the rest is for actions.
REQUESTS_SHARE = 0.3


def build_app(settings: ConsoleSettings, keys: AdminKeys) -> web.Application:
    """Return the application with all that it talks to, opened when it starts."""
    app = web.Application(
        middlewares=[access.answer_everything, access.admit], client_max_size=FORM_BYTES_MAX
    )
    app[access.ADMIN_KEYS] = keys
    app[access.SESSIONS] = Sessions()
    app[access.WRONG_KEYS] = WrongKeys()
    app[trace.TOPICS] = settings.topics
    app[LEDGER] = ledger = Ledger(settings.database_url)
    app[letters.ACTIONS] = Actions(settings)
    app[trace.BROKER] = broker = Broker(settings)
    app[pipeline.WATCHER] = pipeline.Watcher(settings, ledger, broker)
    app[ENDING] = asyncio.Event()
    app.router.add_get("/health", health)
    app.router.add_static("/static", STATIC_FOLDER)
    app.router.add_get(access.LOGIN_PATH, access.show_login)
    app.router.add_post(access.LOGIN_PATH, access.log_in)
    app.router.add_post("/logout", access.log_out)
    app.router.add_get("/", pipeline.show_pipeline)
    app.router.add_get("/live", pipeline.live_pipeline)
    app.router.add_get("/search", trace.search)
    app.router.add_get("/event", trace.show_event)
    app.router.add_get("/batch", trace.show_batch)
    app.router.add_get("/customers", customers.list_customers)
    app.router.add_get("/customer", customers.show_customer)
    app.router.add_get("/customer/live", customers.live_customer)
    app.router.add_get(letters.PATH, letters.list_letters)
    app.router.add_post(f"{letters.PATH}/confirm", letters.confirm)
    app.router.add_post(f"{letters.PATH}/act", letters.act)
    app.router.add_get(f"{letters.PATH}/{{id}}", letters.show_letter)
    app.router.add_get("/jobs", jobs.list_jobs)
    app.router.add_get("/jobs/live", jobs.live_jobs)
    app.router.add_get("/actions", letters.list_actions)
    app.router.add_get("/actions/{id}", letters.show_action)
    app.on_response_prepare.append(access.add_security_headers)
    app.on_shutdown.append(_end_streams)
    app.cleanup_ctx.append(_connections)
    return app


async def health(_request: web.Request) -> web.Response:
    """GET /health: the process answers."""
    return json_answer({"status": "ok", "timestamp": datetime.now(UTC)})


async def _end_streams(app: web.Application) -> None:
    app[ENDING].set()


async def _connections(app: web.Application) -> AsyncIterator[None]:
    await app[LEDGER].open()
    yield
    await app[letters.ACTIONS].finish()
    await app[pipeline.WATCHER].close()
    await app[trace.BROKER].close()
    await app[LEDGER].close()


async def serve(settings: ConsoleSettings, keys: AdminKeys) -> None:
    """Serve until SIGTERM or SIGINT. Ends the process with one line when the port is taken."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    runner = web.AppRunner(
        build_app(settings, keys),
        access_log=None,
        shutdown_timeout=settings.shutdown_grace_seconds * REQUESTS_SHARE,
    )
    await runner.setup()
    site = web.TCPSite(runner, settings.console_host, settings.console_port)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error}"
        sys.stderr.write(f"CONSOLE_PORT={settings.console_port}: the port {reason}\n")
        sys.exit(ExitCode.USAGE)
    _log.info("Console served", host=settings.console_host, port=settings.console_port)
    await ended.wait()
    try:
        async with asyncio.timeout(settings.shutdown_grace_seconds):
            await runner.cleanup()
    except TimeoutError:
        # An action's thread would hold the process; what it had not done is safe to do again.
        process_exit.die("not every action had ended in time", ExitCode.FAILED)

"""The sink worker: the Faust app that reads `usage.rated` by runs, and the price publisher."""

import asyncio
import contextlib
import time

import psycopg
import structlog

from deploy.runtime.kafka import client_options
from deploy.runtime.partition_gauge import ages_seconds
from deploy.runtime.runs import RunsApp, RunsConfig, build_app
from deploy.runtime.serve import is_done_before, serve, stop_event
from deploy.runtime.state_slot import StateSlot
from deploy.runtime.tracing import Tracing
from sinks import metrics
from sinks.agent import SinkAgent
from sinks.audit_behind import Auditor
from sinks.postgres import connect
from sinks.price_publisher import PricePublisher
from sinks.resume import ResumePoint
from sinks.settings import SinkSettings
from sinks.unpaid import UnpaidWatch

log = structlog.get_logger("sinks")

LAG_SECONDS = 2.0
LEDGER_SECONDS = 5.0
SCHEMA_SECONDS = 1.0


def build(settings: SinkSettings, slot: StateSlot, agent: SinkAgent) -> RunsApp:
    """Return the app of one worker, about its agent."""
    config = RunsConfig(
        group=settings.topics.sinks_group,
        topic=settings.topics.rated,
        client=client_options(settings, f"sinks-{slot.number}"),
        folder=slot.folder,
        run_bytes_max=512 << 10,
        buffered_bytes_max=8 << 20,
        fetch_bytes_max=4 << 20,
        on_rebalance=metrics.REBALANCES.inc,
    )
    app = build_app(
        config,
        resume_at=ResumePoint(settings, agent.resumed),
        process=agent.process,
        forget=agent.forget,
    )
    agent.consumer = app
    return app


async def run(settings: SinkSettings, slot: StateSlot, tracing: Tracing | None = None) -> None:
    """Work until SIGTERM or SIGINT."""
    with stop_event() as stop:
        if await is_done_before(stop, _wait_for_schema(settings.database_url)):
            await _work(settings, slot, stop, tracing)


async def _wait_for_schema(database_url: str) -> None:
    """Wait while Postgres is away or empty; say so."""
    while True:
        try:
            async with await connect(database_url) as connection:
                cursor = await connection.execute("SELECT to_regclass('\"SinkOffset\"')")
                if await cursor.fetchone() != (None,):
                    return
            log.warning("Waiting for the schema", remedy="run `burnstream migrate`")
        except (psycopg.Error, OSError) as error:
            reason = " ".join(str(error).split())
            log.warning("Postgres is away, waiting", service="database", reason=reason)
        await asyncio.sleep(SCHEMA_SECONDS)


async def _work(
    settings: SinkSettings, slot: StateSlot, stop: asyncio.Event, tracing: Tracing | None
) -> None:
    agent = SinkAgent(settings, tracing)
    app = build(settings, slot, agent)
    publisher = PricePublisher(settings)
    auditor = Auditor(settings)
    auditor.start()
    beside = [
        asyncio.create_task(publisher.run(), name="prices"),
        asyncio.create_task(_watch_lag(app), name="lag"),
        asyncio.create_task(_watch_ledger(agent), name="ledger"),
        asyncio.create_task(UnpaidWatch(settings, app).watch_for_ever(), name="unpaid"),
    ]
    try:
        await serve(app, grace_seconds=settings.shutdown_grace_seconds, stopping=stop)
    finally:
        auditor.stop()
        for task in beside:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _watch_ledger(agent: SinkAgent) -> None:
    """A ledger restored from a backup shows at the next record; on a quiet partition, here."""
    while True:
        await asyncio.sleep(LEDGER_SECONDS)
        with contextlib.suppress(psycopg.Error, OSError):  # Postgres is away: nothing to see.
            await agent.look_at_ledger()


async def _watch_lag(app: RunsApp) -> None:
    while True:
        await asyncio.sleep(LAG_SECONDS)
        if app.consumer is not None:
            assigned = dict.fromkeys(app.assigned())
            metrics.LAG.show(app.lag())
            metrics.LAG_SECONDS.show(ages_seconds(assigned, app.oldest_ms(), time.time()))

"""The pipeline's page: looks at Kafka, the ledger and the processes while somebody watches."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp import web

from deploy.console.broker import Broker
from deploy.console.ledger import Ledger, Row
from deploy.console.live import fragments
from deploy.console.pages import page, render
from deploy.console.pipeline_state import (
    Applied,
    Look,
    PipelineState,
    add,
    compare,
    needs_recount,
)
from deploy.console.scrape import new_session, scrape
from deploy.console.settings import ConsoleSettings, addresses_of

LOOK_SECONDS = 2.0
# A look older than this says nothing about rates of now.
STALE_SECONDS = 30.0
RECENT_BATCHES = 12
PARTS = ("picture", "counts", "partitions", "workers", "batches")


class Watcher:
    """Looks at the pipeline, at most every two seconds however many watch, and not otherwise."""

    def __init__(self, settings: ConsoleSettings, ledger: Ledger, broker: Broker) -> None:
        self._topics = settings.topics
        self._addresses = list(addresses_of(settings.metrics_targets))
        self._ledger = ledger
        self._broker = broker
        self._session: aiohttp.ClientSession | None = None
        self._looking = asyncio.Lock()
        self._look: Look | None = None
        self._facts: dict[str, Any] = {}

    async def close(self) -> None:
        """Close the connections to the processes."""
        if self._session is not None:
            await self._session.close()

    async def facts(self) -> dict[str, Any]:
        """Return what the page shows, seconds old at most. Raises UnavailableError."""
        async with self._looking:
            before = self._look
            now = time.monotonic()
            if before is None or now - before.seconds >= LOOK_SECONDS * 0.9:
                look = await self._take(before)
                is_stale = before is not None and look.seconds - before.seconds > STALE_SECONDS
                state = compare(None if is_stale else before, look)
                self._facts = await self._rest(state)
                self._look = look
            return self._facts

    async def _take(self, before: Look | None) -> Look:
        topics = self._topics
        # The ends last: what is rated or applied by then is below them.
        applied = await self._applied(before.applied if before else {})
        rated_to = await self._broker.committed(topics.streams_group, topics.raw)
        members = {
            "streams": await self._broker.members(topics.streams_group),
            "sinks": await self._broker.members(topics.sinks_group),
        }
        rated_ends = await self._broker.ends(topics.rated)
        raw_ends = await self._broker.ends(topics.raw)
        reached = {number: one.next_offset for number, one in applied.items()}
        rated_to = {
            number: max(rated_to.get(number, 0), reached.get(number, 0)) for number in raw_ends
        }
        waiting = {number: at for number, at in rated_to.items() if at < raw_ends[number]}
        unpaid = {number: at for number, at in reached.items() if at < raw_ends.get(number, 0)}
        if self._session is None:
            self._session = new_session()
        return Look(
            seconds=time.monotonic(),
            now_ms=time.time_ns() // 1_000_000,
            raw_ends=raw_ends,
            rated_ends=rated_ends,
            rated_to=rated_to,
            applied=applied,
            unrated_ms=await self._broker.times(topics.raw, waiting),
            unpaid_ms=await self._broker.times(topics.raw, unpaid),
            processes=tuple(await scrape(self._session, self._addresses)),
            members=members,
        )

    async def _applied(self, known: Mapping[int, Applied]) -> dict[int, Applied]:
        """Count on from the last look; from the beginning where that cannot be done."""
        if known:
            rows = await self._ledger.fetch(
                "applied_since",
                topic=self._topics.raw,
                partitions=list(known),
                epochs=[one.epoch for one in known.values()],
                offsets=[one.next_offset for one in known.values()],
            )
            if not any(needs_recount(known, row) for row in rows):
                return {row["partition"]: add(known[row["partition"]], row) for row in rows}
        rows = await self._ledger.fetch("applied_in_all", topic=self._topics.raw)
        return {row["partition"]: _applied(row) for row in rows}

    async def _rest(self, state: PipelineState) -> dict[str, Any]:
        letters, batches = await asyncio.gather(
            self._ledger.fetch("open_letters"),
            self._ledger.fetch("recent_batches", topic=self._topics.raw, limit=RECENT_BATCHES),
        )
        return {
            "state": state,
            "completed": state.completed,
            "letters": letters,
            "failed": sum(row["letters"] for row in letters),
            "batches": batches,
            "topics": {"raw": self._topics.raw, "rated": self._topics.rated},
        }


def _applied(row: Row) -> Applied:
    return Applied(**{name: row[name] for name in Applied.__slots__})


WATCHER = web.AppKey("watcher", Watcher)


async def show_pipeline(request: web.Request) -> web.Response:
    """GET /: the pipeline as a picture, its counts, partitions, workers and newest batches."""
    return page(request, "pipeline.html", await request.app[WATCHER].facts())


async def live_pipeline(request: web.Request) -> web.StreamResponse:
    """GET /live: the parts of that page as they change."""

    async def look() -> dict[str, str]:
        facts = await request.app[WATCHER].facts()
        return {part: render(f"_{part}.html", **facts) for part in PARTS}

    return await fragments(request, look, LOOK_SECONDS)

"""Replays and what else runs beside the live ledger: how far each is, and what it still takes."""

from typing import Any

from aiohttp import web

from deploy.console.ledger import LEDGER, ROWS_MAX
from deploy.console.live import fragments
from deploy.console.pages import page, render

LIVE_SECONDS = 2.0


async def list_jobs(request: web.Request) -> web.Response:
    """GET /jobs: every job that is there, newest first."""
    return page(request, "jobs.html", await _facts(request))


async def live_jobs(request: web.Request) -> web.StreamResponse:
    """GET /jobs/live: the same again and again, as events."""

    async def look() -> dict[str, str]:
        return {"jobs": render("_jobs.html", **await _facts(request))}

    return await fragments(request, look, LIVE_SECONDS)


async def _facts(request: web.Request) -> dict[str, Any]:
    rows = await request.app[LEDGER].fetch("jobs", limit=ROWS_MAX)
    return {"jobs": rows, "rows_max": ROWS_MAX}

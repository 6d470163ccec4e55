"""A customer: wallets, what they burn an hour, when they run out, what happened last."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from aiohttp import web

from deploy.console.forecast import HOUR, Forecast, fill_hours, forecast, hour_of
from deploy.console.ledger import LEDGER, ROWS_MAX, Ledger, Row
from deploy.console.live import fragments
from deploy.console.pages import link, page, render

WINDOWS_HOURS = (24, 72, 168)
PACES_HOURS = (6, 24)
LIVE_SECONDS = 5.0
HISTORY_ROWS = 20


async def list_customers(request: web.Request) -> web.Response:
    """GET /customers?q=...: those whose id, name or e-mail holds the text."""
    text = request.query.get("q", "").strip()
    rows = await request.app[LEDGER].fetch("customers", text=text, limit=ROWS_MAX)
    if text and rows and rows[0]["id"] == text:
        raise web.HTTPSeeOther(link("/customer", id=text))
    facts = {"text": text, "customers": rows, "rows_max": ROWS_MAX}
    return page(request, "customers.html", facts)


async def show_customer(request: web.Request) -> web.Response:
    """GET /customer?id=...&hours=...: balance, burn per hour, forecast, newest transactions."""
    customer_id, hours = _asked(request)
    ledger = request.app[LEDGER]
    customer = await ledger.find("customer", customer=customer_id)
    if customer is None:
        raise web.HTTPNotFound(text=f"There is no customer {customer_id}.")
    facts, letters = await asyncio.gather(
        money(ledger, customer_id, hours),
        ledger.fetch(
            "letter_counts",
            customer=customer_id,
            status="OPEN",
            reason=None,
            since=None,
            until=None,
        ),
    )
    about = {"customer": customer, "letters": letters, "windows": WINDOWS_HOURS, **facts}
    return page(request, "customer.html", about)


async def live_customer(request: web.Request) -> web.StreamResponse:
    """GET /customer/live?id=...&hours=...: the same money again and again, as events."""
    customer_id, hours = _asked(request)

    async def look() -> dict[str, str]:
        facts = await money(request.app[LEDGER], customer_id, hours)
        return {"money": render("_money.html", **facts)}

    return await fragments(request, look, LIVE_SECONDS)


def _asked(request: web.Request) -> tuple[str, int]:
    hours = request.query.get("hours", str(WINDOWS_HOURS[1]))
    if hours not in map(str, WINDOWS_HOURS):
        raise web.HTTPBadRequest(text=f"hours: one of {', '.join(map(str, WINDOWS_HOURS))}")
    return request.query.get("id", ""), int(hours)


async def money(ledger: Ledger, customer_id: str, hours: int) -> dict[str, Any]:
    """Return a customer's wallets with their forecasts, and the burn of all of them by hour."""
    now = datetime.now(UTC)
    since = hour_of(now) - timedelta(hours=hours - 1)
    wallets, burns, history = await asyncio.gather(
        ledger.fetch("wallets", customer=customer_id, limit=ROWS_MAX),
        ledger.fetch("burns_per_hour", customer=customer_id, since=since),
        ledger.fetch("wallet_history", customer=customer_id, limit=HISTORY_ROWS),
    )
    shown = [wallet | {"forecasts": _forecasts(wallet, burns, since, now)} for wallet in wallets]
    total = fill_hours(_by_hour(burns), since, now)
    return {
        "customer_id": customer_id,
        "hours": hours,
        "wallets": shown,
        "balance": sum(wallet["balance"] for wallet in wallets),
        "burned": sum(credits_ for _, credits_ in total),
        "events": sum(row["events"] for row in burns),
        "per_hour": total,
        "chart": chart_data(total),
        "history": history,
        "now": now,
    }


def _by_hour(burns: Iterable[Row]) -> dict[datetime, int]:
    by_hour: dict[datetime, int] = {}
    for row in burns:
        by_hour[row["hour"]] = by_hour.get(row["hour"], 0) + row["credits"]
    return by_hour


def _forecasts(wallet: Row, burns: list[Row], since: datetime, now: datetime) -> list[Forecast]:
    own = _by_hour(row for row in burns if row["wallet_id"] == wallet["id"])
    per_hour = fill_hours(own, since, now)
    return [forecast(wallet["balance"], per_hour, now, hours) for hours in PACES_HOURS]


def chart_data(per_hour: list[tuple[datetime, int]]) -> str:
    """Return what the chart draws: seconds since 1970, and credits as text, for they are exact."""
    seconds = [
        (hour - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1) for hour, _ in per_hour
    ]
    texts = [str(credits_) for _, credits_ in per_hour]
    return orjson.dumps({"seconds": seconds, "credits": texts, "step": HOUR.seconds}).decode()

"""One event from its bytes to its wallet: raw record, verdict, price used, ledger row, wallet."""

import asyncio
import contextlib
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from aiohttp import web

from deploy.console.broker import Broker
from deploy.console.ledger import LEDGER, ROWS_MAX, Ledger, Row, UnavailableError
from deploy.console.pages import link, page
from deploy.console.price_used import price_lines, rate_again
from deploy.console.search_text import Sought, is_event_id, positions_of, understand
from schemas.events import InvalidBatchError, NotJsonError, event_slices
from schemas.formats import NewerFormatError
from schemas.pricing import Rated, cost_text
from schemas.rated import RatedBatch, decode_batch
from schemas.topics import Topics

BROKER = web.AppKey("broker", Broker)
TOPICS = web.AppKey("topics", Topics)
# Proven batches may share a row: so many records of usage.rated are looked through for the one.
RATED_RECORDS_MAX = 100
SHOWN_BYTES_MAX = 64 << 10
# A burn's time rises along its wallet's chain: it may be later than its event's, by little.
SLACK_OF_BURNS = timedelta(seconds=10)
EVER = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


async def search(request: web.Request) -> web.Response:
    """GET /search: lead to what a text names; customers are listed when several fit."""
    sought = understand(request.query.get("q", ""))
    match sought.kind:
        case Sought.EVENT:
            raise web.HTTPSeeOther(link("/event", id=sought.text))
        case Sought.BATCH:
            raise web.HTTPSeeOther(link("/batch", id=sought.text))
        case Sought.LETTER:
            raise web.HTTPSeeOther(f"/dead-letters/{sought.text}")
        case Sought.CUSTOMER:
            raise web.HTTPSeeOther(link("/customers", q=sought.text))


async def show_event(request: web.Request) -> web.Response:
    """GET /event?id=...&customer=...: the event's whole way."""
    event_id, customer = request.query.get("id", ""), request.query.get("customer") or None
    if not is_event_id(event_id):
        raise web.HTTPBadRequest(text="id: a UUID")
    ledger = request.app[LEDGER]
    named = {"event": event_id, "customer": customer, "limit": ROWS_MAX}
    charged, duplicates, letters = await asyncio.gather(
        ledger.fetch("event_charged", **named),
        ledger.fetch("event_duplicates", **named),
        ledger.fetch(
            "event_letters",
            spellings=sorted({event_id, event_id.lower(), event_id.upper()}),
            customer=customer,
            limit=ROWS_MAX,
        ),
    )
    customers = sorted(
        {row["customer_id"] or "" for row in (*charged, *duplicates, *letters)} - {""}
    )
    facts: dict[str, Any] = {
        "event_id": event_id.lower(),
        "customer": customer or (customers[0] if len(customers) == 1 else None),
        "customers": customers,
        "charged": charged[0] if len(customers) == 1 and charged else None,
        "duplicates": duplicates,
        "letters": letters,
        "under_key": None,
        "way": None,
    }
    place = _place(facts["charged"], duplicates, letters)
    if facts["charged"] is None and duplicates and duplicates[0]["idempotency_key"]:
        facts["under_key"] = await ledger.find(
            "event_of_key",
            customer=duplicates[0]["customer_id"],
            key=duplicates[0]["idempotency_key"],
        )
    if place is not None and len(customers) <= 1:
        facts["way"] = await _way(request.app, place, facts["charged"])
    is_known = place is not None or customers
    return page(request, "event.html", facts, 200 if is_known else 404)


def _place(charged: Row | None, duplicates: list[Row], letters: list[Row]) -> Row | None:
    """Return where the event stands: charged, else its newest letter, else its first repetition."""
    if charged is not None:
        return {
            name: charged[f"source_{name}"] for name in ("partition", "epoch", "offset", "index")
        }
    rows = letters[-1:] or duplicates[:1]
    return (
        {name: rows[0][name] for name in ("partition", "epoch", "offset", "index")}
        if rows
        else None
    )


async def _way(app: web.Application, place: Row, charged: Row | None) -> dict[str, Any]:
    record, verdict = await asyncio.gather(_raw_record(app, place), _verdict(app, place))
    facts: dict[str, Any] = {"place": place, "record": record, **verdict, "price": None}
    if charged is not None:
        facts["price"] = await _price(app[LEDGER], charged, verdict["entry"])
        facts["transactions"] = await _transactions(app[LEDGER], charged)
    return facts


async def _transactions(ledger: Ledger, charged: Row) -> list[Row]:
    """Return the transactions of a charge: written with it, or at another time (a restored row)."""
    named = {"customer": charged["customer_id"], "event": charged["event_id"]}
    moment = charged["created_at"]
    rows = await ledger.fetch(
        "event_transactions", **named, since=moment - SLACK_OF_BURNS, until=moment + SLACK_OF_BURNS
    )
    if rows or not charged["credits_burned"]:
        return rows
    with contextlib.suppress(UnavailableError):  # It takes too long: the page says nothing found.
        return await ledger.fetch("event_transactions", **named, since=EVER[0], until=EVER[1])
    return []


async def _raw_record(app: web.Application, place: Row) -> dict[str, Any]:
    """Return the record as `usage.raw` holds it, or why it does not."""
    reached = await app[LEDGER].fetch("reached", topic=app[TOPICS].raw)
    epochs = {row["partition"]: row["epoch"] for row in reached}
    if epochs.get(place["partition"]) != place["epoch"]:
        return {"absent": f"the log of epoch {place['epoch']} is not the one that is there now"}
    try:
        found = await app[BROKER].records(app[TOPICS].raw, place["partition"], [place["offset"]])
    except UnavailableError as error:
        return {"absent": str(error)}
    record = found.get(place["offset"])
    if record is None:
        return {"absent": "the log does not hold it any more (retention)"}
    return record_facts(record) | {"event": _event_bytes(record.value or b"", place["index"])}


def record_facts(record: Any) -> dict[str, Any]:
    """Return what is shown of a record of Kafka (aiokafka's)."""
    value = record.value or b""
    return {
        "absent": None,
        "offset": record.offset,
        "key": record.key,
        "written_at": datetime.fromtimestamp(record.timestamp / 1_000, UTC),
        "headers": [(name, bytes(text or b"")) for name, text in record.headers],
        "bytes": len(value),
        "value": value[:SHOWN_BYTES_MAX],
    }


def _event_bytes(value: bytes, index: int) -> bytes | None:
    """Return the event's own bytes within its record, None where they cannot be told apart."""
    try:
        slices = event_slices(value)
    except (NotJsonError, InvalidBatchError):
        return None
    return slices[index] if index < len(slices) else None


async def _verdict(app: web.Application, place: Row) -> dict[str, Any]:
    """Return the applied batch that covers a position, and its entry as `usage.rated` holds it."""
    facts: dict[str, Any] = {"batch": None, "entry": None, "rated_offset": None, "absent": None}
    row = await app[LEDGER].find(
        "batch_of_position",
        topic=app[TOPICS].raw,
        partition=place["partition"],
        epoch=place["epoch"],
        offset=place["offset"],
    )
    if row is None:
        return facts | {"absent": "no rated batch that covers it is applied"}
    facts["batch"] = row
    first = (
        row["rated_offset"]
        if row["rated_offset_before"] is None
        else row["rated_offset_before"] + 1
    )
    first = max(first, row["rated_offset"] - RATED_RECORDS_MAX + 1)
    offsets = [*range(row["rated_offset"], first - 1, -1)]
    try:
        return facts | await _entry(app, place, offsets)
    except (UnavailableError, NewerFormatError) as error:
        return facts | {"absent": str(error)}


async def _entry(app: web.Application, place: Row, offsets: list[int]) -> dict[str, Any]:
    for offset in offsets:
        found = await app[BROKER].records(app[TOPICS].rated, place["partition"], [offset])
        if offset not in found:
            continue
        batch: RatedBatch = decode_batch(found[offset].value)
        if not batch.first_offset <= place["offset"] < batch.next_offset:
            continue
        for entry in batch.events:
            if (entry["offset"], entry["index"]) == (place["offset"], place["index"]):
                return {"entry": entry, "rated_offset": offset}
    return {"absent": "usage.rated does not hold it any more (retention)"}


async def _price(ledger: Ledger, charged: Row, entry: Any) -> dict[str, Any]:
    """Return the prices that a charge names, and what they come to as they stand now."""
    ids = list(charged["price_ids"])
    costs, tables = await asyncio.gather(
        ledger.fetch("provider_costs", ids=ids), ledger.fetch("burn_tables", ids=ids)
    )
    known = {row["id"] for row in (*costs, *tables)}
    facts: dict[str, Any] = {
        "costs": costs,
        "burn_tables": tables,
        "missing": [one for one in ids if one not in known],
        "lines": [],
        "again": None,
    }
    if entry is not None and entry["verdict"] == "charged":
        facts["lines"] = [asdict(line) for line in price_lines(entry["event"], costs)]
        if not facts["missing"]:
            again = rate_again(entry["event"], costs, tables)
            facts["again"] = _comparison(again, charged)
    return facts


def _comparison(again: Any, charged: Row) -> dict[str, Any]:
    if not isinstance(again, Rated):
        return {"is_same": False, "message": again.message}
    cost = cost_text(again.cost_attodollars)
    is_same = (again.credits, Decimal(cost)) == (charged["credits_burned"], charged["cost_usd"])
    return {"is_same": is_same, "message": f"{again.credits} credits, {cost} USD"}


async def show_batch(request: web.Request) -> web.Response:
    """GET /batch?id=...: the records of a batch id or of "partition:offset", and their events."""
    text = request.query.get("id", "").strip()
    positions = positions_of(text)
    if positions is None or not positions.offsets:
        raise web.HTTPBadRequest(text="id: a batch id, or partition:offset")
    app, topic = request.app, request.app[TOPICS].raw
    offsets = list(positions.offsets)
    reached = {
        row["partition"]: row for row in await app[LEDGER].fetch("reached", topic=topic)
    }.get(positions.partition)
    if reached is None:
        raise web.HTTPNotFound(text=f"{topic} has no partition {positions.partition}.")
    place = {"topic": topic, "partition": positions.partition, "epoch": reached["epoch"]}
    events = await app[LEDGER].fetch("events_at", **place, offsets=offsets, limit=5 * ROWS_MAX)
    batches = {
        row["first_offset"]: row
        for offset in {min(offsets), max(offsets)}
        if (row := await app[LEDGER].find("batch_of_position", **place, offset=offset))
    }
    try:
        found = await app[BROKER].records(topic, positions.partition, offsets[:ROWS_MAX])
        records, absent = [record_facts(one) for one in found.values()], None
    except UnavailableError as error:
        records, absent = [], str(error)
    facts = {
        "id": text,
        "positions": asdict(positions),
        "epoch": reached["epoch"],
        "is_applied": max(offsets) < reached["next_offset"],
        "batches": list(batches.values()),
        "events": events,
        "records": records,
        "absent": absent,
        "credits": sum(row["credits"] or 0 for row in events),
    }
    is_known = bool(events or records)
    return page(request, "batch.html", facts, 200 if is_known else 404)

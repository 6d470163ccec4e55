"""What a row of a producer's list or of a provider's invoice says: pure."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import orjson

from gateway.file_import.rows import Row
from schemas.cloud_events import in_utc

LIST_FIELDS = frozenset({"event_id", "customer_id", "timestamp", "credits", "cost_usd"})
INVOICE_FIELDS = frozenset({"day", "provider", "model", "customer_id", "cost_usd"})
_INT64_MAX = 2**63 - 1


class UnreadableRowError(ValueError):
    """A row that cannot be compared; the message says why."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An event that a producer says there was; amounts where the list has them."""

    customer_id: str
    event_id: UUID
    timestamp: datetime | None = None
    credits: int | None = None
    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Invoiced:
    """A line of an invoice. What it does not name is None: its sum is over all of them."""

    day: date
    provider: str | None
    model: str | None
    customer_id: str | None
    cost_usd: Decimal


def read_listed(row: Row, customer_id: str | None) -> Listed:
    """Read a row of a list: an object, or an id alone. `customer_id`: of rows that name none.

    Raises UnreadableRowError.
    """
    cells = _object(row)
    own = _text(cells, "customer_id") or customer_id
    if own is None:
        raise UnreadableRowError("no customer_id: name the column (--map) or --customer")
    try:
        event_id = UUID(str(cells.get("event_id")))
    except ValueError:
        raise UnreadableRowError(f"event_id {cells.get('event_id')!r} is no UUID") from None
    credits_listed = _amount(cells, "credits")
    if credits_listed is not None and (credits_listed % 1 or abs(credits_listed) > _INT64_MAX):
        raise UnreadableRowError(f"credits {credits_listed} are no whole number of them")
    return Listed(
        own,
        event_id,
        _moment(cells.get("timestamp")),
        None if credits_listed is None else int(credits_listed),
        _amount(cells, "cost_usd"),
    )


def read_invoiced(row: Row) -> Invoiced:
    """Read a line of an invoice. Raises UnreadableRowError."""
    cells = _object(row)
    cost = _amount(cells, "cost_usd")
    if cost is None:
        raise UnreadableRowError("no cost_usd")
    try:
        day = date.fromisoformat(str(cells.get("day"))[:10])
    except ValueError:
        raise UnreadableRowError(f"day {cells.get('day')!r} is no YYYY-MM-DD") from None
    provider = _text(cells, "provider")
    return Invoiced(
        day,
        None if provider is None else provider.upper(),
        _text(cells, "model"),
        _text(cells, "customer_id"),
        cost,
    )


def _object(row: Row) -> dict[str, Any]:
    try:
        found = orjson.loads(row.event)
    except orjson.JSONDecodeError as error:
        text = row.event.decode("utf-8", "replace")
        raise UnreadableRowError(text if text.startswith("more cells") else str(error)) from None
    if isinstance(found, str):
        return {"event_id": found}
    if not isinstance(found, dict):
        raise UnreadableRowError("neither an object nor an id")
    return found


def _text(cells: dict[str, Any], name: str) -> str | None:
    cell = cells.get(name)
    if cell is None or cell == "":
        return None
    if not isinstance(cell, str) or "\x00" in cell:
        raise UnreadableRowError(f"{name} {cell!r} is no name")
    return cell


def _amount(cells: dict[str, Any], name: str) -> Decimal | None:
    cell = cells.get(name)
    if cell is None or cell == "":
        return None
    try:
        found = Decimal(str(cell))
    except InvalidOperation:
        found = Decimal("nan")
    if not found.is_finite():
        raise UnreadableRowError(f"{name} {cell!r} is no number")
    return found


def _moment(cell: Any) -> datetime | None:
    if cell is None or cell == "":
        return None
    text = in_utc(str(cell).strip().replace(" ", "T", 1))
    if text is None:
        raise UnreadableRowError(f"timestamp {cell!r} is no time with a zone")
    return datetime.fromisoformat(text).astimezone(UTC)

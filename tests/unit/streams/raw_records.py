"""Raw records, events and prices as the stream stage meets them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from schemas.pricing import PriceBook
from schemas.timestamps import TimestampPolicy
from streams.decode import DecodedRecord, decode_record
from streams.price_book import PriceTable

HOUR_MS = 3_600_000
WINDOW_MS = 24 * HOUR_MS
NOW_MS = 1_800_000_000_000
NO_LIMIT = TimestampPolicy(None, None)


@dataclass(frozen=True)
class RawRecord:
    """What aiokafka hands over of a record."""

    offset: int
    value: bytes | None
    timestamp: int = NOW_MS
    timestamp_type: int = 1
    key: bytes | None = b"cust-1"
    headers: Sequence[tuple[str, bytes]] = ()


def event(number: int, **fields: Any) -> dict[str, Any]:
    """Return a valid event that costs 15 credits; `number` makes its id."""
    return {
        "event_id": str(UUID(int=number)),
        "customer_id": "cust-1",
        "event_type": "TOKEN_USAGE",
        "feature_id": "chat",
        "timestamp": "2026-11-20T10:00:00Z",
        "provider": "OPENAI",
        "model": "gpt-4-turbo",
        "input_tokens": 1000,
        "output_tokens": 500,
    } | fields


def price_row(cost_type: str, cost: str, row_id: str, **fields: Any) -> dict[str, Any]:
    """Return a row of ProviderCost as `usage.prices` carries it."""
    return {
        "id": row_id,
        "provider": "OPENAI",
        "model": "gpt-4-turbo",
        "cost_type": cost_type,
        "cost_per_unit": cost,
        "unit_size": 1000,
        "valid_from": "2025-01-01T00:00:00+00:00",
        "valid_until": None,
        "created_at": "2025-01-01T00:00:00+00:00",
    } | fields


PRICES: Mapping[str, Mapping[str, Any]] = {
    "cost:in": price_row("INPUT_TOKEN", "0.005", "in"),
    "cost:out": price_row("OUTPUT_TOKEN", "0.020", "out"),
}


def price_record(revision: int, row: Mapping[str, Any], *, deleted: bool = False) -> bytes:
    """Return the value of a record of `usage.prices`."""
    return orjson.dumps({"revision": revision, "deleted": deleted, "row": row})


def price_book() -> PriceBook:
    """Return a book with the prices of gpt-4-turbo."""
    table = PriceTable()
    for key, row in PRICES.items():
        table.apply(key.encode(), price_record(1, row))
    return table.publish()


def raw(offset: int, *events: Mapping[str, Any], ms: int = NOW_MS, **fields: Any) -> RawRecord:
    """Return a record of one event as such, or of several under `events`."""
    value = orjson.dumps(events[0] if len(events) == 1 else {"events": events})
    return RawRecord(offset, value, ms, **fields)


def decoded(*records: RawRecord) -> list[DecodedRecord]:
    """Return records as decoded without limits on event time."""
    return [decode_record(record, record.timestamp, NO_LIMIT) for record in records]

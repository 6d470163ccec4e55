"""The stream stage's work for baselines in Python, by our own pure functions: the best there are.

What differs between them is how records are read, state is kept and output is written.
"""

import csv
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from schemas.events import InvalidEvent, UsageEvent, validate_each
from schemas.identity import identities
from schemas.pricing import Price, PriceBook, Unpriced, cost_text, rate

HOUR_MS = 3_600_000


class Arguments(NamedTuple):
    """The command line of a baseline."""

    bootstrap: str
    application: str
    source: str
    output: str
    folder: str
    prices_csv: str

    @classmethod
    def of_command_line(cls) -> "Arguments":
        """Read it."""
        return cls(*sys.argv[1:7])


class Memory(Protocol):
    """State with a changelog, as a framework gives it."""

    def first(self, identity: bytes) -> int | None:
        """Return where an identity was charged."""

    def remember(self, identity: bytes, position: int) -> None:
        """Note that an identity was charged."""

    def add(self, customer: str, hour: int, credits_: int, attodollars: int) -> None:
        """Add to what a customer was charged in an hour."""


def read_price_book(path: str) -> PriceBook:
    """Return the price list that ships."""
    with Path(path).open(encoding="utf-8") as file:
        prices = [
            Price(
                row["id"],
                row["provider"],
                row["model"],
                row["cost_type"],
                Decimal(row["cost_per_unit"]),
                int(row["unit_size"]),
                datetime.fromisoformat(row["valid_from"]),
                datetime.fromisoformat(row["valid_until"]) if row["valid_until"] else None,
                datetime(2025, 1, 1, tzinfo=UTC),
            )
            for row in csv.DictReader(file)
        ]
    return PriceBook(1, prices)


def rate_record(
    value: bytes, offset: int, broker_ms: int, book: PriceBook, memory: Memory
) -> bytes:
    """Return the rated record of a raw one."""
    entries = [
        _rate(event, offset << 10 | index, broker_ms // HOUR_MS, book, memory)
        for index, event in enumerate(validate_each(value))
    ]
    return orjson.dumps({"offset": offset, "broker_time": broker_ms, "events": entries})


def _rate(
    event: UsageEvent | InvalidEvent, position: int, hour: int, book: PriceBook, memory: Memory
) -> dict[str, Any]:
    if isinstance(event, InvalidEvent):
        raise TypeError(f"not an event: {event.errors}")
    own = identities(event["customer_id"], event["event_id"], event.get("idempotency_key"))
    for identity in own:
        first = memory.first(identity)
        if first is not None:
            return {"event": event, "verdict": "duplicate", "of": first}
    cost = rate(event, book)
    if isinstance(cost, Unpriced):
        raise TypeError(cost.message)
    for identity in own:
        memory.remember(identity, position)
    memory.add(event["customer_id"], hour, cost.credits, cost.cost_attodollars)
    return {
        "event": event,
        "verdict": "charged",
        "credits": cost.credits,
        "cost_usd": cost_text(cost.cost_attodollars),
        "price_ids": cost.price_ids,
    }

"""Price rows as `usage.prices` carries them, and what must be written when they change. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from schemas.pricing import BurnTable, Price, PriceBook, burn_table_from_row, price_from_row

REVISION_KEY = "revision"
COST_KEY = "cost:"
BURN_TABLE_KEY = "burn-table:"

Row = Mapping[str, Any]
NO_ROW: Row = {}


@dataclass(frozen=True)
class Snapshot:
    """All prices of one revision: published rows by key, and what of the tables is no price."""

    revision: int
    rows: Mapping[str, Row]
    refused: Mapping[str, str] = field(default_factory=dict)  # key -> why

    def book(self) -> PriceBook:
        """Return the price book that the streams will build of it."""
        return PriceBook(
            self.revision,
            [price_from_row(row) for key, row in self.rows.items() if key.startswith(COST_KEY)],
            [
                burn_table_from_row(row)
                for key, row in self.rows.items()
                if key.startswith(BURN_TABLE_KEY)
            ],
        )


def snapshot(revision: int, costs: Iterable[Row], burn_tables: Iterable[Row]) -> Snapshot:
    """Turn rows of ProviderCost and BurnTable into what is published.

    A row that is no price (a rate of NaN, rules of another shape) is refused and not published: it
    would stop every streams worker.
    """
    rows: dict[str, Row] = {}
    refused: dict[str, str] = {}
    for prefix, found in ((COST_KEY, costs), (BURN_TABLE_KEY, burn_tables)):
        for raw in found:
            key, row = prefix + raw["id"], published_row(raw)
            try:
                _require_sound(prefix, row)
            except (ValueError, ArithmeticError, TypeError, AttributeError) as error:
                refused[key] = str(error)
            else:
                rows[key] = row
    return Snapshot(revision, rows, refused)


def published_row(row: Row) -> Row:
    """Return a row with its times as text, ISO 8601 with an offset."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def _require_sound(prefix: str, row: Row) -> None:
    if prefix == COST_KEY:
        price: Price = price_from_row(row)
        if price.cost_per_unit < 0 or price.ratio[1] <= 0:
            raise ValueError("a price must not be negative, nor its unit empty")
        return
    table: BurnTable = burn_table_from_row(row)
    for model, rule in table.rules.items():
        if rule.per_unit <= 0:
            raise ValueError(f"rules of {model}: per_unit must be above 0")
        for rate in (rule.input_tokens, rule.output_tokens, rule.flat_rate):
            if rate is not None and not (rate.is_finite() and rate >= 0):
                raise ValueError(f"rules of {model}: a rate must be a number from 0 on")


class Published:
    """What the topic holds: the last record of each key, as compaction will leave it.

    Not the highest revision of each: the late record of a former leader is to be written over, or
    a reader that starts after the next compaction would find it alone.
    """

    def __init__(self) -> None:
        self.revision = -1  # none yet
        self.highest_revision = 0
        self._rows: dict[str, tuple[int, Row | None]] = {}

    def apply(self, key: str, value: bytes) -> None:
        """Take a record of the topic, or one that was written to it."""
        found = orjson.loads(value)
        revision = int(found["revision"])
        self.highest_revision = max(self.highest_revision, revision)
        if key == REVISION_KEY:
            self.revision = revision
        else:
            self._rows[key] = (revision, None if found["deleted"] else found["row"])

    def changes(self, wanted: Snapshot) -> list[tuple[str, bytes]]:
        """Return the records to write, the revision last; none when nothing changed."""
        records = []
        for key, row in wanted.rows.items():
            known = self._rows.get(key)
            if known is None or known[1] != row:
                records.append((key, record_value(wanted.revision, row)))
        for key, (_, published) in self._rows.items():
            if published is not None and key not in wanted.rows:
                records.append((key, record_value(wanted.revision, None)))
        if records or self.revision != wanted.revision:
            records.append((REVISION_KEY, record_value(wanted.revision, NO_ROW)))
        return records


def record_value(revision: int, row: Row | None) -> bytes:
    """Return the value of a record of `usage.prices`; no row: it was deleted."""
    return orjson.dumps({"revision": revision, "deleted": row is None, "row": row or NO_ROW})

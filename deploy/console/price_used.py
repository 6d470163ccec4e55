"""How a charge came about: each price times its amount, and what they come to now. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from schemas.events import UsageEvent
from schemas.pricing import (
    ATTODOLLARS_PER_USD,
    PriceBook,
    Rated,
    Unpriced,
    burn_table_from_row,
    cost_text,
    exact_ratio,
    price_from_row,
    rate,
)

_FIELDS = {
    "INPUT_TOKEN": ("input_tokens", 0),
    "OUTPUT_TOKEN": ("output_tokens", 0),
    "IMAGE": ("image_count", 1),
    "VIDEO": ("duration_seconds", 1),
}
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One price of an event: `amount` units at `cost_per_unit` per `unit_size`. Costs are USD."""

    price_id: str
    cost_type: str
    amount: str
    cost_per_unit: Decimal
    unit_size: int
    cost_usd: str


def price_lines(event: UsageEvent, prices: Iterable[Row]) -> list[PriceLine]:
    """Return what each price of an event comes to."""
    lines = []
    for row in prices:
        field, absent = _FIELDS.get(row["cost_type"], ("quantity", 1))
        amount: Any = event.get(field, absent)
        cost = (
            Fraction(*exact_ratio(amount)) * Fraction(row["cost_per_unit"]) / int(row["unit_size"])
        )
        lines.append(
            PriceLine(
                row["id"],
                row["cost_type"],
                str(amount),
                row["cost_per_unit"],
                row["unit_size"],
                cost_text(round(cost * ATTODOLLARS_PER_USD)),
            )
        )
    return lines


def rate_again(
    event: UsageEvent, prices: Sequence[Row], burn_tables: Sequence[Row]
) -> Rated | Unpriced:
    """Rate an event by the rows that it was charged by, as they stand now."""
    book = PriceBook(
        0,
        [price_from_row(_published(row)) for row in prices],
        [burn_table_from_row(_published(row)) for row in burn_tables],
    )
    return rate(event, book)


def _published(row: Row) -> Row:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
    }

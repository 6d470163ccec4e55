import orjson
import pytest

from schemas.pricing import Rated, Unpriced, rate
from streams.decode import decode_record
from streams.price_book import PriceTable, QuarantineTable
from tests.unit.streams.raw_records import (
    NO_LIMIT,
    NOW_MS,
    PRICES,
    event,
    price_record,
    price_row,
    raw,
)


@pytest.fixture
def table() -> PriceTable:
    table = PriceTable()
    for key, row in PRICES.items():
        table.apply(key.encode(), price_record(5, row))
    table.publish()
    return table


def credits_of(table: PriceTable) -> int | None:
    """Return what the usual event costs by the book in force, None when it has no price."""
    [usual] = decode_record(raw(0, event(1)), NOW_MS, NO_LIMIT).events
    assert isinstance(usual, dict)
    cost = rate(usual, table.book)
    assert isinstance(cost, Rated | Unpriced)
    return cost.credits if isinstance(cost, Rated) else None


def test_a_book_changes_only_when_its_publication_is_complete(table: PriceTable) -> None:
    """Rows wait for the revision that ends them, so that half a change is never in force."""
    table.apply(b"cost:in", price_record(6, price_row("INPUT_TOKEN", "0.010", "in")))
    assert credits_of(table) == 15
    assert table.apply(b"revision", orjson.dumps({"revision": 6}))
    assert table.publish().revision == 6
    assert credits_of(table) == 20


def test_a_zombie_publisher_cannot_bring_an_old_price_back(table: PriceTable) -> None:
    """A row of a lower revision is ignored, whenever it comes."""
    table.apply(b"cost:in", price_record(4, price_row("INPUT_TOKEN", "9", "in")))
    table.publish()
    assert credits_of(table) == 15


def test_a_deleted_price_is_in_force_no_longer(table: PriceTable) -> None:
    """A deletion is a row of its own revision."""
    table.apply(b"cost:out", price_record(7, PRICES["cost:out"], deleted=True))
    table.publish()
    assert credits_of(table) is None


def test_a_burn_table_sets_the_credits(table: PriceTable) -> None:
    """A customer's own table comes by the same topic."""
    row = {
        "id": "bt",
        "customer_id": "cust-1",
        "version": 1,
        "rules": {"gpt-4-turbo": {"per_unit": 1000, "input_tokens": 1, "output_tokens": 2}},
        "valid_from": "2025-01-01T00:00:00+00:00",
        "valid_until": None,
        "created_at": "2025-01-01T00:00:00+00:00",
    }
    table.apply(b"burn-table:bt", price_record(8, row))
    table.publish()
    assert credits_of(table) == 2


def test_an_unknown_kind_of_row_is_a_bug(table: PriceTable) -> None:
    """A key that this release does not know must not be ignored silently."""
    with pytest.raises(ValueError, match="no known kind"):
        table.apply(b"discount:x", price_record(8, {}))


def test_quarantine_is_set_and_lifted() -> None:
    """A position is set aside with its reason until its record is deleted."""
    table = QuarantineTable()
    table.apply(b"2:77", orjson.dumps({"reason": "stops the worker", "by": "ann"}))
    assert table.reason(2, 77) == "stops the worker (set aside by ann)"
    assert table.reason(2, 78) is None
    table.apply(b"2:77", None)
    assert table.reason(2, 77) is None

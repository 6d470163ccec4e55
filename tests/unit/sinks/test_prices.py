"""What is written to `usage.prices` when prices change."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from schemas.pricing import Rated, rate
from sinks.prices import Published, Snapshot, record_value, snapshot
from sinks.self_replay import is_priced
from tests.rated_batches import charged

AT = datetime(2025, 1, 1, tzinfo=UTC)


def cost(price: str, amount: str = "5.00", **fields: Any) -> dict[str, Any]:
    return {
        "id": price,
        "provider": "OPENAI",
        "model": "gpt-4-turbo",
        "cost_type": "INPUT_TOKEN",
        "cost_per_unit": amount,
        "unit_size": "1000000",
        "valid_from": AT,
        "valid_until": None,
        "created_at": AT,
    } | fields


def table(rules: Any) -> dict[str, Any]:
    return {
        "id": "t",
        "customer_id": "cust-1",
        "version": "1",
        "rules": rules,
        "valid_from": AT,
        "valid_until": None,
        "created_at": AT,
    }


def written(published: Published, wanted: Snapshot) -> list[str]:
    """Apply the changes and return their keys."""
    changes = published.changes(wanted)
    for key, value in changes:
        published.apply(key, value)
    return [key for key, _ in changes]


def test_only_changes_are_written_and_the_revision_last() -> None:
    """New, changed and deleted rows; unchanged ones stay; nothing to do writes nothing."""
    published = Published()
    assert written(published, snapshot(1, [cost("a"), cost("b")], [])) == [
        "cost:a",
        "cost:b",
        "revision",
    ]
    wanted = snapshot(2, [cost("a"), cost("b", "6")], [])
    assert written(published, wanted) == ["cost:b", "revision"]
    assert written(published, wanted) == []
    assert written(published, snapshot(3, [cost("a")], [])) == ["cost:b", "revision"]
    assert written(published, snapshot(4, [cost("a"), cost("b", "6")], [])) == [
        "cost:b",
        "revision",
    ]


def test_a_revision_without_a_visible_change_is_published_alone() -> None:
    """Readers know by it how far they are."""
    published = Published()
    written(published, snapshot(1, [cost("a")], []))
    assert written(published, snapshot(2, [cost("a")], [])) == ["revision"]


def test_a_late_record_of_a_former_leader_is_written_over() -> None:
    """Compaction keeps the last record, not the highest revision."""
    published = Published()
    wanted = snapshot(5, [cost("a", "6")], [])
    written(published, wanted)
    stale = snapshot(4, [cost("a", "5")], []).rows["cost:a"]
    published.apply("cost:a", record_value(4, stale))
    assert written(published, wanted) == ["cost:a", "revision"]


def test_rows_carry_numbers_and_times_as_text() -> None:
    """What `schemas.pricing` reads: ISO 8601 with an offset."""
    value = orjson.loads(record_value(1, snapshot(1, [cost("a")], []).rows["cost:a"]))
    assert value["row"]["valid_from"] == "2025-01-01T00:00:00+00:00"
    assert value["row"]["cost_per_unit"] == "5.00"


@pytest.mark.parametrize(
    "bad",
    [
        {"costs": [cost("a", "NaN")]},
        {"costs": [cost("a", "Infinity")]},
        {"costs": [cost("a", "-1")]},
        {"tables": [table({"m": {"per_unit": 0, "flat_rate": 1}})]},
        {"tables": [table({"m": {"flat_rate": "much"}})]},
        {"tables": [table({"m": {"flat_rate": -1}})]},
        {"tables": [table({"m": 5})]},
        {"tables": [table({"m": {"flat_rate": "NaN"}})]},
    ],
)
def test_a_row_that_is_no_price_is_refused_and_the_others_go_through(
    bad: dict[str, list[dict[str, Any]]],
) -> None:
    """It would stop every streams worker, or charge nonsense."""
    found = snapshot(1, [*bad.get("costs", []), cost("sound")], bad.get("tables", []))
    assert list(found.rows) == ["cost:sound"]
    assert len(found.refused) == 1


def test_the_book_is_what_the_streams_build() -> None:
    """An event is priced by the same rows as they are published."""
    costs = [cost("in", "10"), cost("out", "10", cost_type="OUTPUT_TOKEN")]
    found = snapshot(1, costs, [table({"gpt-4-turbo": {"per_unit": 1, "input_tokens": 1}})])
    event = charged(0, customer_id="cust-2")["event"]
    assert rate(event, found.book()) == Rated(15, 15 * 10**15, ("in", "out"))


def test_a_letter_is_covered_when_its_event_would_be_charged() -> None:
    """An event without prices, or bytes that are no event, are not."""
    book = snapshot(1, [cost("in"), cost("out", cost_type="OUTPUT_TOKEN")], [table({})]).book()
    event = charged(0)["event"]
    assert is_priced(orjson.dumps(event), book)
    assert not is_priced(orjson.dumps(event | {"model": "other"}), book)
    assert not is_priced(orjson.dumps(event | {"event_id": 1}), book)
    assert not is_priced(b"{", book)

"""What a report adds up, and the page that shows it."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from deploy.jobs.price_report import BARS_MAX, Report, bars, largest
from deploy.jobs.reprice import Total


def row(customer: str, before: int, after: int, **changes: Any) -> dict[str, Any]:
    """A row of the report, of one event."""
    return {
        "customer_id": customer,
        "provider": "OPENAI",
        "model": "gpt",
        "day": date(2026, 6, 1),
        "events": 1,
        "events_changed": int(before != after),
        "credits_billed": before,
        "credits_before": before,
        "credits_after": after,
        "credits_difference": after - before,
        "cost_usd_billed": Decimal("0.1"),
        "cost_usd_after": Decimal("0.2"),
    } | changes


def test_bars_are_sums_and_shares_of_the_longest() -> None:
    """By label; a smaller one to the left where it costs less."""
    found = bars([row("a", 1, 5), row("b", 9, 1), row("a", 1, 1)], lambda one: one["customer_id"])
    assert [(bar.label, bar.events, bar.difference, bar.share) for bar in found] == [
        ("a", 2, 4, 0.5),
        ("b", 1, -8, -1.0),
    ]
    assert bars([row("a", 2, 2)], lambda _: "x")[0].share == 0.0


def test_the_largest_are_few() -> None:
    """A page is to be read."""
    found = bars([row(f"c{n:03}", 0, n) for n in range(50)], lambda one: one["customer_id"])
    assert len(largest(found)) == BARS_MAX
    assert largest(found)[0].label == "c049"


def test_the_page_is_safe_and_whole(tmp_path: Path) -> None:
    """Names are text, nothing comes from elsewhere, every row is in the file."""
    rows = [row("<b>evil</b>", 10, 25), row("acme", 7, 3)]
    total = Total(2, 2, 17, 17, 28, Decimal("0.2"), Decimal("0.4"), 1, 2)
    facts = {"job": "june", "prices": "now", "is_applied": False, "total": total}
    table, page = Report(tmp_path / "new" / "folder", "csv").write(rows, facts)
    text = page.read_text()
    assert "&lt;b&gt;evil&lt;/b&gt;" in text
    assert "<b>evil" not in text
    assert "http" not in text
    assert text.count("<svg") == 4  # a day, two customers, a model
    assert "+15" in text
    assert len(table.read_text().splitlines()) == 3
    Report(tmp_path, "parquet").write(rows, facts)
    Report(tmp_path / "none", "csv").write([], facts)

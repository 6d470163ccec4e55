"""What a repricing comes to, as files: rows by customer, model and day, and a page with charts."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deploy.jobs.plan import PlanError

Row = Mapping[str, Any]
Format = Literal["csv", "parquet"]

BARS_MAX = 20
ROWS_MAX = 500


@dataclass(frozen=True, slots=True)
class Bar:
    """Credits of a customer, model or day; `share` of the longest bar, -1 to 1, by difference."""

    label: str
    events: int
    credits_before: int
    credits_after: int
    share: float

    @property
    def difference(self) -> int:
        """Credits more, or less."""
        return self.credits_after - self.credits_before


@dataclass(frozen=True, slots=True)
class Report:
    """Where it goes, and as what."""

    folder: Path
    kind: Format

    def write(self, rows: Sequence[Row], facts: Mapping[str, Any]) -> list[Path]:
        """Write `reprice.csv` or `.parquet`, and `reprice.html`; return where they are.

        Raises PlanError: the folder cannot be written, or Parquet is not installed.
        """
        table, page = self.folder / f"reprice.{self.kind}", self.folder / "reprice.html"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.kind == "csv":
                _write_csv(table, rows)
            else:
                _write_parquet(table, rows)
            page.write_text(_page(rows, facts), encoding="utf-8")
        except OSError as error:
            raise PlanError(f"{self.folder}: {error.strerror}") from None
        return [table, page]


def bars(rows: Sequence[Row], label: Callable[[Row], str]) -> list[Bar]:
    """Add rows up by a label; those with the largest difference, or all, in the labels' order."""
    sums: dict[str, list[int]] = {}
    for row in rows:
        one = sums.setdefault(label(row), [0, 0, 0])
        for number, column in enumerate(("events", "credits_before", "credits_after")):
            one[number] += row[column]
    longest = max((abs(after - before) for _, before, after in sums.values()), default=0)
    return [
        Bar(name, events, before, after, (after - before) / longest if longest else 0.0)
        for name, (events, before, after) in sums.items()
    ]


def largest(found: Sequence[Bar]) -> list[Bar]:
    """Return the bars of the largest differences, largest first."""
    by_size = sorted(found, key=lambda bar: (-abs(bar.difference), bar.label))
    return by_size[:BARS_MAX]


def _page(rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("deploy.jobs"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    by_day = sorted(bars(rows, lambda row: row["day"].isoformat()), key=lambda bar: bar.label)
    charts = {
        "By UTC day": by_day,
        "By customer": largest(bars(rows, lambda row: row["customer_id"])),
        "By model": largest(bars(rows, lambda row: row["model"] or "no model")),
    }
    return environment.get_template("reprice.html").render(
        **facts, charts=charts, rows=rows[:ROWS_MAX], row_count=len(rows)
    )


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["customer_id"])
        writer.writeheader()
        writer.writerows(rows)


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise PlanError(
            "Parquet needs pyarrow: pip install 'burnstream[parquet]', or --format csv"
        ) from None
    money = pa.decimal128(38, 18)  # what `cost_usd` holds at most; never a float
    columns = {
        name: pa.array(
            [row[name] for row in rows], type=money if name.startswith("cost_usd") else None
        )
        for name in (rows[0] if rows else ())
    }
    pq.write_table(pa.table(columns), path, compression="zstd")

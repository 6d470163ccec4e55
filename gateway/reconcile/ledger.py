"""A list or an invoice in temporary tables of one connection, joined with the ledger.

All is read in one REPEATABLE READ transaction, and differences come one after the other, so that a
list of any length takes the same memory.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from importlib import resources
from typing import Any

import psycopg
from psycopg.rows import dict_row

from gateway.file_import.fates import make_fates
from gateway.file_import.rows import Row
from gateway.reconcile.differences import (
    NOT_LISTED,
    UNREADABLE,
    Difference,
    LineDifference,
    difference_of,
    line_difference,
)
from gateway.reconcile.listed import UnreadableRowError, read_invoiced, read_listed

_TOLD = """
CREATE TEMPORARY TABLE told
    (row bigint, customer_id text, id uuid, at timestamptz, credits bigint, cost_usd numeric)
"""
_INVOICED = """
CREATE TEMPORARY TABLE invoiced
    (day date, provider text, model text, customer_id text, cost_usd numeric)
"""
_FETCH_ROWS = 5_000


def _sql(name: str) -> bytes:
    return (resources.files("gateway.reconcile") / name).read_bytes()


@dataclass
class Comparison:
    """What a list and the ledger agree on, counted as the differences go by."""

    rows: int = 0
    events: int = 0  # each once
    agreed: int = 0
    credits: int = 0  # of all that is listed and charged
    cost_usd: Decimal = Decimal(0)
    since: datetime | None = None
    until: datetime | None = None
    differences: dict[str, int] = field(default_factory=dict)  # by cause

    def count(self, difference: Difference) -> Difference:
        """Count a difference and hand it on."""
        cause = difference.cause
        self.differences[cause] = self.differences.get(cause, 0) + 1
        return difference


def compare_list(
    connection: psycopg.Connection[Any],
    rows: Iterator[Row],
    comparison: Comparison,
    *,
    customer_id: str | None,
    since: datetime | None,
    until: datetime | None,
) -> Iterator[Difference]:
    """Yield each difference; `comparison` is whole when the last is out."""
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    connection.execute(_TOLD)
    unreadable: list[Difference] = []
    with connection.cursor().copy("COPY told FROM STDIN") as copy:
        for row in rows:
            if not row.event:
                continue
            comparison.rows += 1
            try:
                one = read_listed(row, customer_id)
            except UnreadableRowError as error:
                unreadable.append(Difference(UNREADABLE, row.number, reason=str(error)))
                continue
            copy.write_row(
                (
                    row.number,
                    one.customer_id,
                    one.event_id,
                    one.timestamp,
                    one.credits,
                    one.cost_usd,
                )
            )
    connection.execute(_sql("take_once.sql"))
    make_fates(connection)
    yield from map(comparison.count, unreadable)
    for found in _stream(connection, _sql("listed.sql")):
        comparison.events += 1
        comparison.credits += found["charged_credits"] or 0
        comparison.cost_usd += found["charged_cost_usd"] or 0
        difference = difference_of(found)
        if difference is None:
            comparison.agreed += 1
        else:
            yield comparison.count(difference)
    yield from _not_listed(connection, comparison, since, until)


def _not_listed(
    connection: psycopg.Connection[Any],
    comparison: Comparison,
    since: datetime | None,
    until: datetime | None,
) -> Iterator[Difference]:
    own = connection.execute(_sql("span.sql")).fetchone() or (None, None)
    comparison.since, comparison.until = since or own[0], until or own[1]
    if comparison.since is None or comparison.until is None:
        return
    span = {"since": comparison.since, "until": comparison.until}
    for found in _stream(connection, _sql("not_listed.sql"), span):
        yield comparison.count(
            Difference(
                NOT_LISTED,
                customer_id=found["customer_id"],
                event_id=str(found["id"]),
                charged_credits=found["credits_burned"],
                charged_cost_usd=found["cost_usd"],
            )
        )


@dataclass
class InvoiceComparison:
    """The sums of an invoice and of the ledger over the same days."""

    rows: int = 0
    lines: int = 0
    differing: int = 0
    unreadable: list[str] = field(default_factory=list)
    invoiced_usd: Decimal = Decimal(0)
    charged_usd: Decimal = Decimal(0)

    def total(self) -> LineDifference:
        """All lines as one."""
        return LineDifference("all", None, None, None, self.invoiced_usd, self.charged_usd)


def compare_invoice(
    connection: psycopg.Connection[Any],
    rows: Iterator[Row],
    comparison: InvoiceComparison,
    tolerance_usd: Decimal,
) -> Iterator[LineDifference]:
    """Yield each line that differs; `comparison` is whole when the last is out."""
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    connection.execute(_INVOICED)
    with connection.cursor().copy("COPY invoiced FROM STDIN") as copy:
        for row in rows:
            if not row.event:
                continue
            comparison.rows += 1
            try:
                copy.write_row(tuple(asdict(read_invoiced(row)).values()))
            except UnreadableRowError as error:
                comparison.unreadable.append(f"row {row.number}: {error}")
    for found in _stream(connection, _sql("invoiced.sql")):
        comparison.lines += 1
        comparison.invoiced_usd += found["invoiced_usd"]
        comparison.charged_usd += found["charged_usd"]
        line = line_difference(found, tolerance_usd)
        if line is not None:
            comparison.differing += 1
            yield line


def _stream(
    connection: psycopg.Connection[Any], query: bytes, values: dict[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    with connection.cursor("found", row_factory=dict_row) as cursor:
        cursor.itersize = _FETCH_ROWS
        yield from cursor.execute(query, values)

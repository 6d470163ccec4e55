"""`burnstream reconcile`."""

import csv
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, fields
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer

from deploy.runtime.command_line import Json, RefusedError, examples, one_line_errors, show
from deploy.runtime.exit import ExitCode
from deploy.runtime.progress_bar import Tell, progress_bar
from deploy.runtime.settings import load_settings
from gateway.file_import.columns import Columns, MappingError
from gateway.file_import.commands import pairs
from gateway.file_import.rows import FileError, Format, Row, Rows, format_of
from gateway.reconcile.differences import Difference, LineDifference
from gateway.reconcile.ledger import (
    Comparison,
    InvoiceComparison,
    compare_invoice,
    compare_list,
)
from gateway.reconcile.listed import INVOICE_FIELDS, LIST_FIELDS
from gateway.settings import GatewaySettings

_PARTS = 1_000  # of a file, for the bar
_TELL_EVERY = 1_000
_SHOWN = 10  # differences on the terminal

app = typer.Typer()


@app.command(
    epilog=examples(
        "burnstream reconcile --against sent.ndjson.gz --customer acme --out differences.csv",
        "burnstream reconcile --against sent.csv --map event_id=id --map customer_id=account",
        "burnstream reconcile --invoice --against invoice.csv --map day=date "
        "--map cost_usd=amount --set provider=OPENAI --tolerance-usd 0.01",
    ),
)
def reconcile(
    *,
    against: Annotated[
        Path, typer.Option(help="A producer's list: NDJSON, CSV or Parquet, gzip or zstd.")
    ],
    invoice: Annotated[
        bool, typer.Option("--invoice", help="The file is a provider's invoice, sums a day.")
    ] = False,
    file_format: Annotated[
        Format | None, typer.Option("--format", help="Where the name does not tell.")
    ] = None,
    mapped: Annotated[
        list[str] | None, typer.Option("--map", help="FIELD=COLUMN, of a table's other names.")
    ] = None,
    constants: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE, the same in every row.")
    ] = None,
    customer: Annotated[str | None, typer.Option(help="Of rows that name no customer.")] = None,
    since: Annotated[
        datetime | None, typer.Option(help="The list is complete from here, UTC.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(help="The list is complete up to here, UTC.")
    ] = None,
    tolerance_usd: Annotated[
        str, typer.Option(help="A line of an invoice may differ by so much.")
    ] = "0",
    out: Annotated[Path | None, typer.Option(help="Every difference as a row of CSV.")] = None,
    as_json: Json = False,
) -> None:
    """Compare a producer's list or a provider's invoice with what was charged; 1: they differ."""
    settings = load_settings(GatewaySettings)
    with one_line_errors(settings, (FileError, MappingError)), ExitStack() as stack:
        if not against.is_file():
            raise FileError(f"{against}: there is no such file")
        known = INVOICE_FIELDS if invoice else LIST_FIELDS
        columns = Columns(pairs("--map", mapped), pairs("--set", constants), known)
        rows = Rows(against, file_format or format_of(against), columns)
        rows.require_readable()
        connection = stack.enter_context(psycopg.connect(settings.database_url))
        tell = stack.enter_context(progress_bar("reconcile: of the file"))
        read = _told(rows, tell)
        found: Comparison | InvoiceComparison
        differences: Iterator[Difference] | Iterator[LineDifference]
        if invoice:
            found = InvoiceComparison()
            differences = compare_invoice(connection, read, found, _usd(tolerance_usd))
        else:
            found = Comparison()
            differences = compare_list(
                connection,
                read,
                found,
                customer_id=customer,
                since=_in_utc(since),
                until=_in_utc(until),
            )
        first = _write(differences, out, LineDifference if invoice else Difference)
    _show(found, first, out, as_json=as_json)


def _show(
    found: Comparison | InvoiceComparison,
    first: list[dict[str, Any]],
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    if isinstance(found, InvoiceComparison):
        lines, differing = _invoice_lines(found), found.differing + len(found.unreadable)
    else:
        lines, differing = _list_lines(found), sum(found.differences.values())
    said = [*lines, *(f"    {_in_words(one)}" for one in first)]
    if differing > len(first):
        said.append("    and more" + (f": {out}" if out else ": --out FILE has all of them"))
    show(as_json, asdict(found) | {"first": first}, lambda: "\n".join(said))
    if differing:
        raise typer.Exit(ExitCode.FAILED)


def _told(rows: Rows, tell: Tell) -> Iterator[Row]:
    for row in rows:
        if row.number % _TELL_EVERY == 0:
            tell(round(rows.share_read * _PARTS), _PARTS)
        yield row


def _write(
    differences: Iterator[Difference] | Iterator[LineDifference],
    out: Path | None,
    kind: type[Difference | LineDifference],
) -> list[dict[str, Any]]:
    """Write all differences as CSV, if anywhere, and return the first few."""
    derived = ["difference_usd", "per_cent"] if kind is LineDifference else []
    names = [one.name for one in fields(kind)] + derived
    first: list[dict[str, Any]] = []
    with ExitStack() as stack:
        table = None
        if out is not None:
            try:
                file = stack.enter_context(out.open("w", newline=""))
            except OSError as error:
                raise FileError(f"{out}: {error.strerror}") from error
            table = csv.DictWriter(file, names)
            table.writeheader()
        for one in differences:
            row = {name: getattr(one, name) for name in names}
            if table is not None:
                table.writerow(row)
            if len(first) < _SHOWN:
                first.append(row)
    return first


def _list_lines(found: Comparison) -> Iterator[str]:
    yield (
        f"of {found.events:,} listed events the ledger agrees on {found.agreed:,}; "
        f"charged: {found.credits:,} credits, {found.cost_usd:f} USD"
    )
    if found.since and found.until:
        since, until = (at.astimezone(UTC).isoformat() for at in (found.since, found.until))
        yield f"  from {since} to {until}"
    for cause, events in sorted(found.differences.items()):
        yield f"  {cause}: {events:,}"


def _invoice_lines(found: InvoiceComparison) -> Iterator[str]:
    total = found.total()
    yield (
        f"of {found.lines:,} lines {found.differing:,} differ; invoiced {total.invoiced_usd:f} "
        f"USD, charged {total.charged_usd:f} USD: {_signed(total)}"
    )
    for row in found.unreadable[:_SHOWN]:
        yield f"  unreadable: {row}"


def _signed(line: LineDifference) -> str:
    share = "" if line.per_cent is None else f" ({line.per_cent:+f} %)"
    return f"{line.difference_usd:+f} USD{share}"


def _in_words(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items() if value is not None)


def _usd(text: str) -> Decimal:
    try:
        found = Decimal(text)
    except InvalidOperation:
        found = Decimal(-1)
    if not found.is_finite() or found < 0:
        raise RefusedError(f"--tolerance-usd {text!r}: expected an amount such as 0.01")
    return found


def _in_utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=moment.tzinfo or UTC)

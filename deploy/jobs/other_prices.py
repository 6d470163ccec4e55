"""The prices of a repricing, kept in its own schema: rows of ProviderCost and BurnTable there.

So the job goes on with the prices that it began with, and they can be looked at.
"""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from deploy.jobs.plan import PlanError
from deploy.jobs.shadow import Job
from deploy.jobs.statements import statement
from schemas.pricing import PriceBook
from sinks.prices import snapshot
from sinks.statements import statement as of_sinks

COST_COLUMNS = (
    *("id", "provider", "model", "cost_type", "cost_per_unit", "unit_size", "currency"),
    *("valid_from", "valid_until"),
)
NAME_PREFIX = "reprice:"
_EVER = "0001-01-02T00:00:00Z"
_DIGITS = 16

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class OtherPrices:
    """What was asked for. Without a time: what is known now; files go before it.

    A price file's rows stand instead of all that are known of their provider, model and cost type;
    a burn table instead of all of its customer's.
    """

    known_at: datetime | None = None
    price_files: tuple[Path, ...] = ()
    burn_table_files: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """What tells these prices from others: kept with the job. Raises PlanError."""
        base = "now" if self.known_at is None else self.known_at.isoformat()
        digests = [
            hashlib.sha256(_content(path)).hexdigest()[:_DIGITS]
            for path in (*self.price_files, *self.burn_table_files)
        ]
        return " ".join([NAME_PREFIX + base, *digests])


def keep(own: Connection, job: Job, asked: OtherPrices) -> None:
    """Put the prices into the job's schema, all or nothing, once. Raises PlanError.

    `own` finds the job's tables under the names that the live ones have elsewhere.
    """
    with own.transaction():
        kept = own.execute(
            'SELECT 1 FROM "ProviderCost" UNION ALL SELECT 1 FROM "BurnTable" LIMIT 1'
        )
        if kept.fetchone():
            return
        revision = job.price_revision
        if asked.known_at is not None:
            revision = _revision_known_at(own, job, asked.known_at)
        for table in ("ProviderCost", "BurnTable"):
            own.execute(
                statement(
                    "keep_prices",
                    history=sql.Identifier(job.live_schema, "PriceHistory"),
                    table=sql.Identifier(table),
                    table_name=sql.Literal(table),
                ),
                {"revision": revision},
            )
        for path in asked.price_files:
            _replace(own, path, _cost_rows(path), "replace_costs", COST_COLUMNS)
        for path in asked.burn_table_files:
            rows = _burn_table_rows(path)
            columns = ("customer_id", "name", "rules", "valid_from", "valid_until")
            _replace(own, path, rows, "replace_burn_tables", columns)
        book(own, job)


def book(own: Connection, job: Job) -> PriceBook:
    """Return the price book of the job's own tables. Raises PlanError on a row that is no price."""
    with own.cursor(row_factory=dict_row) as cursor:
        costs, tables = (
            cursor.execute(of_sinks(name)).fetchall() for name in ("provider_costs", "burn_tables")
        )
    found = snapshot(job.price_revision, costs, tables)
    if found.refused:
        raise PlanError("; ".join(f"{key}: {why}" for key, why in sorted(found.refused.items())))
    return found.book()


def _revision_known_at(own: Connection, job: Job, moment: datetime) -> int:
    row = own.execute(
        sql.SQL("SELECT max(revision) FROM {} WHERE known_from <= %s").format(
            sql.Identifier(job.live_schema, "PriceHistory")
        ),
        [moment],
    ).fetchone()
    if row is None or row[0] is None:
        raise PlanError(f"no price was known on {moment.isoformat()}: their history begins later")
    return int(row[0])


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror}") from None


def _cost_rows(path: Path) -> list[dict[str, Any]]:
    try:
        text = _content(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PlanError(f"{path} is no text in UTF-8") from None
    reader = csv.DictReader(io.StringIO(text))
    missing = [name for name in COST_COLUMNS[1:5] if name not in (reader.fieldnames or ())]
    if missing:
        raise PlanError(f"{path} lacks the columns {', '.join(missing)}")
    unknown = sorted(set(reader.fieldnames or ()) - set(COST_COLUMNS))
    if unknown:
        raise PlanError(f"{path} has columns that are none of a price: {', '.join(unknown)}")
    return [
        {"unit_size": "1000", "currency": "USD", "valid_from": _EVER}
        | {name: value for name, value in row.items() if value}
        | {"id": row.get("id") or f"{path.name}:{reader.line_num}"}
        for row in reader
    ]


def _burn_table_rows(path: Path) -> list[dict[str, Any]]:
    try:
        found = orjson.loads(_content(path))
    except orjson.JSONDecodeError as error:
        raise PlanError(f"{path} is no JSON: {error}") from None
    rows = found if isinstance(found, list) else [found]
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("rules"), dict):
            raise PlanError(f'{path}: expected objects with "customer_id" and "rules"')
    return [
        {"name": path.name, "valid_from": _EVER}
        | row
        | {"rules": orjson.dumps(row["rules"]).decode()}
        for row in rows
    ]


def _replace(
    own: Connection,
    path: Path,
    rows: Sequence[dict[str, Any]],
    name: str,
    columns: Sequence[str],
) -> None:
    values = [[row.get(column) for row in rows] for column in columns]
    try:
        own.execute(statement(name), dict(zip(columns, values, strict=True)))
    except psycopg.Error as error:
        if isinstance(error, psycopg.OperationalError):
            raise
        raise PlanError(f"{path}: {error.diag.message_primary}") from None

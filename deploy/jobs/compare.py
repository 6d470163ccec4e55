"""A job's ledger against the live one: a hash per partition and customer, and each difference.

Hashed and compared is what the log and the prices decide of an event, in Postgres:
sql/compare.sql.
"""

from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row

from deploy.jobs.shadow import Job
from deploy.jobs.statements import statement
from sinks.price_history import whole_from

# Of a charge, by its column.
_FACTS = (
    "event_type",
    "feature_id",
    "provider",
    "model",
    "timestamp",
    "input_tokens",
    "output_tokens",
    "image_count",
    "duration_seconds",
    "quantity",
    "price_ids",
    "cost_usd",
    "credits_burned",
)


@dataclass(frozen=True, slots=True)
class CustomerHash:
    """Entries of a customer in a partition, in both ledgers; equal entries, equal hashes."""

    partition: int
    customer_id: str
    live: int
    shadow: int
    live_hash: str
    shadow_hash: str


@dataclass(frozen=True, slots=True)
class PartitionHash:
    """The hashes of a partition's customers in one."""

    partition: int
    customers: int
    live: int
    shadow: int
    live_hash: str
    shadow_hash: str


@dataclass(frozen=True, slots=True)
class Difference:
    """An entry of one ledger alone, or of both with other facts: field -> (live, shadow).

    `key`: the event's id of a charge, `partition:offset:index` else.
    """

    kind: str  # missing in live, missing in shadow, differs
    verdict: str
    partition: int
    customer_id: str
    key: str
    fields: dict[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether the job's ledger says what the live one says."""

    partitions: list[PartitionHash]
    customers: list[CustomerHash]
    differences: list[Difference]
    warnings: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def compare(connection: psycopg.Connection[Any], job: Job) -> Comparison:
    """Compare a finished job's ledger with the live one, in one snapshot."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute(
            sql.SQL("CREATE TEMPORARY TABLE compared ON COMMIT DROP AS {}").format(_query(job)),
            _parameters(job),
        )
        connection.execute(
            sql.SQL("CREATE TEMPORARY TABLE hashes ON COMMIT DROP AS {}").format(
                statement("hashes")
            )
        )
        with connection.cursor(row_factory=class_row(PartitionHash)) as cursor:
            partitions = cursor.execute(statement("partition_hashes")).fetchall()
        with connection.cursor(row_factory=class_row(CustomerHash)) as of_customers:
            customers = of_customers.execute(
                "SELECT * FROM hashes ORDER BY partition, customer_id"
            ).fetchall()
        with connection.cursor(row_factory=dict_row) as rows:
            different = rows.execute(
                "SELECT * FROM compared WHERE live IS DISTINCT FROM shadow"
                " ORDER BY partition, customer_id, verdict, key"
            ).fetchall()
        return Comparison(
            partitions,
            customers,
            [_difference(row) for row in different],
            _warnings(connection, job),
        )


def _query(job: Job) -> sql.Composed:
    facts = sql.SQL("jsonb_build_object({})").format(
        sql.SQL(", ").join(
            sql.SQL("{}, usage.{}").format(sql.Literal(name), sql.Identifier(name))
            for name in _FACTS
        )
    )
    live, shadow = sql.Identifier(job.live_schema), sql.Identifier(job.schema)
    return statement(
        "compare",
        live=live,
        shadow=shadow,
        facts=facts,
        live_letters=statement("letters", ledger=live),
        shadow_letters=statement("letters", ledger=shadow),
    )


def _parameters(job: Job) -> dict[str, Any]:
    return {
        "partitions": [span.partition for span in job.spans],
        "epochs": [span.epoch for span in job.spans],
        "firsts": [span.first for span in job.spans],
        "ends": [span.end for span in job.spans],
        "customers": list(job.request.customers),
        "models": list(job.request.models),
        "features": list(job.request.features),
        "is_of_raw": job.is_of_raw,
    }


def _difference(row: dict[str, Any]) -> Difference:
    live, shadow = row.pop("live"), row.pop("shadow")
    if live is None or shadow is None:
        kind = "missing in live" if live is None else "missing in shadow"
        fields = {}
    else:
        kind = "differs"
        fields = {name: (live[name], shadow[name]) for name in live if live[name] != shadow[name]}
    return Difference(kind=kind, fields=fields, **row)


def _warnings(connection: psycopg.Connection[Any], job: Job) -> list[str]:
    if not job.is_of_raw or job.request.prices != "as-billed":
        return []
    known = whole_from(connection)
    older = connection.execute(
        sql.SQL(
            "SELECT count(*) FROM {}.\"RatedBatch\" WHERE kind = 'rated' AND price_revision < %s"
        ).format(sql.Identifier(job.schema)),
        [known],
    ).fetchone()
    if not older or not older[0]:
        return []
    return [
        (
            f"{older[0]} batches were priced by revisions before {known}, where their history "
            "begins: prices that were changed or deleted since are not known as they were"
        )
    ]

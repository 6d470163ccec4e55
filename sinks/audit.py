"""`burnstream audit`: the ledger's rows prove that every event was accounted for exactly once.

Each rule is one query in `sql/audit/`, named by its code; its first line says what a row of its
result means. A healthy ledger yields no row. All rules read one snapshot, so sinks may go on.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from typing import Any

import psycopg
from psycopg.rows import dict_row

EXAMPLES_MAX = 5

Row = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """A query whose rows are discrepancies; `%(since)s` bounds it to what was written later."""

    code: str
    message: str
    sql: str


@dataclass(frozen=True)
class Discrepancy:
    """What is wrong, how often, and the first few places."""

    code: str
    message: str
    count: int
    examples: list[Row]


@dataclass(frozen=True)
class AuditReport:
    """The result of an audit; `decisions` are holes and epochs that persons decided, for ever."""

    discrepancies: list[Discrepancy]
    decisions: list[Row]
    totals: Row = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.discrepancies


def load_rules() -> list[Rule]:
    """All rules, by code."""
    folder = resources.files("sinks") / "sql" / "audit"
    rules = []
    for entry in folder.iterdir():
        if entry.name.endswith(".sql"):
            sql = entry.read_text(encoding="utf-8")
            message = sql.partition("\n")[0].removeprefix("-- ")
            rules.append(Rule(entry.name.removesuffix(".sql").upper(), message, sql))
    return sorted(rules, key=lambda rule: rule.code)


def audit(
    connection: psycopg.Connection[Any],
    *,
    since: datetime | None = None,
    rules: Iterable[Rule] | None = None,
) -> AuditReport:
    """Run the rules (all, unless given) in one snapshot.

    `since` leaves out what was written before: a quick look behind running sinks, no proof. It
    must be a moment at which no sink transaction was under way. The connection must be idle.

    Raises psycopg.OperationalError when Postgres is unreachable.
    """
    folder = resources.files("sinks") / "sql"
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        # Every rule is a few hash joins and sorts over whole tables.
        cursor.execute("SET LOCAL work_mem = '128MB'")
        cursor.execute("SET LOCAL jit = off")
        found = check(cursor, rules or load_rules(), since)
        cursor.execute((folder / "audit_decisions.sql").read_bytes())
        decisions = cursor.fetchall()
        cursor.execute((folder / "audit_totals.sql").read_bytes())
        totals = cursor.fetchone() or {}
    return AuditReport(found, decisions, totals)


def check(
    cursor: psycopg.Cursor[Row], rules: Iterable[Rule], since: datetime | None
) -> list[Discrepancy]:
    """Run rules in the transaction that is open; return those that do not hold."""
    found = [_run(cursor, rule, {"since": since}) for rule in rules]
    return [one for one in found if one.count]


def _run(cursor: psycopg.Cursor[Row], rule: Rule, bound: dict[str, datetime | None]) -> Discrepancy:
    """One rule's result; a count of 0 means that it holds."""
    # Materialised: a plan that hurries to the first rows is slow where there are none.
    query = (
        f"WITH found AS MATERIALIZED ({rule.sql}\n) "  # noqa: S608 -- a file of this package
        f"SELECT *, (SELECT count(*) FROM found) AS audit_count FROM found LIMIT {EXAMPLES_MAX}"
    )
    cursor.execute(query.encode(), bound)
    examples = cursor.fetchall()
    count = examples[0]["audit_count"] if examples else 0
    for example in examples:
        del example["audit_count"]
    return Discrepancy(rule.code, rule.message, count, examples)

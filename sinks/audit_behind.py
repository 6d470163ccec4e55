"""The audit behind the sinks: proves what was applied since the last look, and says what is wrong.

One worker does it for all, in a thread and on a connection of its own, reading one snapshot. It
touches nothing that a sink writes: a discrepancy stops nobody, it alerts. What is new is found by
positions: below `SinkOffset` every batch is committed, whatever transactions are under way. The
rules are those of `burnstream audit`, bounded to the time of the new batches, the dear ones only
where a search has found something; a partition's proven batches are one row of `AuditProof`, so a
look costs what is new. Where something is wrong the proof does not move: the next look finds it
again, until it is mended.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from typing import Any

import psycopg
import structlog
from psycopg.rows import dict_row

from sinks import metrics
from sinks.audit import EXAMPLES_MAX, Discrepancy, Row, check, load_rules
from sinks.settings import SinkSettings

log = structlog.get_logger("audit")

APPLICATION_NAME = "burnstream-audit"
CONNECT_SECONDS = 5
# Rules about the whole table of batches; of the new ones these columns say the same.
CHAIN_COUNTS = {
    "BATCH_HOLE": "holes",
    "BATCH_OVERLAP": "overlaps",
    "BATCH_AFTER_EPOCH_END": "strays",
    "OFFSET_DISAGREES": "disagrees",
}
# What these queries search is what those rules say row by row; the rules are ten times as dear.
SEARCHES = ("suspicious_burns", "suspicious_chains", "suspicious_events")
SEARCHED = {
    "BURN_AMOUNT",
    "BURN_MISSING",
    "BURN_TWICE",
    "CHAIN_BALANCE",
    "CHAIN_GAP",
    "CHAIN_TIME",
    "CHARGED_COUNT",
    "TRANSACTION_WITHOUT_EVENT",
    "TRANSACTION_WITHOUT_WALLET",
    "USAGE_WITHOUT_CUSTOMER",
}
# A look takes at most a fifth of the time: one that lasts long makes the next one wait.
REST_PER_LOOK = 4

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Look:
    """What one look found; `events` are those of the new batches."""

    discrepancies: list[Discrepancy]
    events: int
    seen_at: datetime


def _sql(name: str) -> bytes:
    return (resources.files("sinks") / "sql" / "audit_behind" / f"{name}.sql").read_bytes()


def look(connection: Connection, topic: str) -> Look:
    """Prove what is new and merge it into the proof, unless something is wrong.

    The connection is in autocommit. Raises psycopg.Error.
    """
    parameters = {"topic": topic}
    connection.execute(_sql("begin_proofs"), parameters)
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute("SET LOCAL work_mem = '32MB'")
        cursor.execute("SET LOCAL jit = off")
        cursor.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        (row,) = cursor.execute("SELECT now() AS seen_at").fetchall()
        seen_at: datetime = row["seen_at"]
        partitions = cursor.execute(_sql("new_batches"), parameters).fetchall()
        found = _broken_chains(partitions)
        beginnings = [one["since"] for one in partitions if one["since"] is not None]
        if beginnings:
            found += _contradictions(cursor, min(beginnings))
    if not found:
        _merge(connection, topic, partitions, seen_at)
    return Look(found, sum(_events(one) for one in partitions), seen_at)


def _contradictions(cursor: psycopg.Cursor[Row], since: datetime) -> list[Discrepancy]:
    """Return what the rules say of what was written since; most only where there is suspicion."""
    rules = [rule for rule in load_rules() if rule.code not in CHAIN_COUNTS]
    found = check(cursor, [rule for rule in rules if rule.code not in SEARCHED], since)
    if any(cursor.execute(_sql(name), {"since": since}).fetchall() for name in SEARCHES):
        # What is new is beyond the planner's statistics: it would take many rows for one.
        cursor.execute("SET LOCAL enable_nestloop = off")
        cursor.execute("SET LOCAL statement_timeout = '10min'")
        found += check(cursor, [rule for rule in rules if rule.code in SEARCHED], since)
    return found


def _events(partition: Row) -> int:
    counted = ("charged", "duplicates", "conflicts", "dead_letters", "refused")
    return sum(partition[name] or 0 for name in counted)


def _broken_chains(partitions: Sequence[Row]) -> list[Discrepancy]:
    """Return where new batches do not follow one another up to the sinks' position. Pure."""
    messages = {rule.code: rule.message for rule in load_rules()}
    return [
        Discrepancy(code, messages[code], sum(one[count] for one in wrong), wrong[:EXAMPLES_MAX])
        for code, count in CHAIN_COUNTS.items()
        if (wrong := [one for one in partitions if one[count]])
    ]


def _merge(
    connection: Connection, topic: str, partitions: Sequence[Row], seen_at: datetime
) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        for one in partitions:
            counts = {name: value or 0 for name, value in one.items()}
            cursor.execute(_sql("merge"), counts | {"topic": topic, "seen_at": seen_at})


class Auditor:
    """Looks again and again, in a daemon thread: a process that ends does not wait for it."""

    def __init__(self, settings: SinkSettings) -> None:
        self._database_url = settings.database_url
        self._topic = settings.topics.raw
        self._seconds = settings.audit_seconds
        self._ended = threading.Event()
        self._codes = [rule.code for rule in load_rules()]
        self._resign()

    def start(self) -> None:
        """Begin, unless AUDIT_SECONDS is 0."""
        if self._seconds:
            threading.Thread(target=self._work, name="audit", daemon=True).start()

    def stop(self) -> None:
        """Let the look that is under way be the last one."""
        self._ended.set()

    def _work(self) -> None:
        while not self._ended.is_set():
            try:
                self._session()
            except Exception as error:  # noqa: BLE001 -- no fault of the audit may touch a sink
                metrics.AUDIT_FAILURES.inc()
                log.warning("The audit behind the sinks waits", reason=repr(error))
            finally:
                self._resign()
            self._ended.wait(self._seconds)

    def _session(self) -> None:
        """Audit for as long as the connection holds, once nobody else does."""
        parameters = {"topic": self._topic}
        with psycopg.connect(
            self._database_url,
            autocommit=True,
            application_name=APPLICATION_NAME,
            connect_timeout=CONNECT_SECONDS,
            prepare_threshold=None,  # a plan made for any time would read whole tables
        ) as connection:
            while not connection.execute(_sql("lead"), parameters).fetchall()[0][0]:
                if self._ended.wait(self._seconds):
                    return
            metrics.IS_AUDITOR.set(1)
            (row,) = connection.execute(_sql("proven_until"), parameters).fetchall()
            if row[0] is not None:
                metrics.AUDIT_TIMESTAMP.set(row[0].timestamp())
            while not self._ended.is_set():
                started = time.monotonic()
                self._tell(look(connection, self._topic))
                spent = time.monotonic() - started
                metrics.AUDIT_SECONDS.observe(spent)
                self._ended.wait(max(self._seconds, REST_PER_LOOK * spent))

    def _tell(self, found: Look) -> None:
        counts = {one.code: one.count for one in found.discrepancies}
        for code in self._codes:
            metrics.AUDIT_DISCREPANCIES.labels(code).set(counts.get(code, 0))
        for one in found.discrepancies:
            log.error(
                "The ledger contradicts itself",
                code=one.code,
                meaning=one.message,
                count=one.count,
                examples=one.examples,
            )
        if not found.discrepancies:
            metrics.AUDIT_TIMESTAMP.set(found.seen_at.timestamp())
            metrics.AUDIT_EVENTS.inc(found.events)

    def _resign(self) -> None:
        """What this worker knew is the next auditor's to find again."""
        metrics.IS_AUDITOR.set(0)
        metrics.AUDIT_TIMESTAMP.set(0)
        for code in self._codes:
            metrics.AUDIT_DISCREPANCIES.labels(code).set(0)

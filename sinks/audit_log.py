"""`burnstream audit --log`: recounts the events of `usage.raw` and asks the ledger for each.

Other code than the pipeline's on purpose: it reads JSON with the standard library and knows nothing
of schemas. Only records that the log still holds can be recounted.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from psycopg.rows import class_row

from deploy.runtime.kafka import reader_options, require_topics
from deploy.runtime.progress_bar import Tell, tell_nobody
from deploy.runtime.settings import RuntimeSettings
from sinks.audit import EXAMPLES_MAX, Discrepancy, Row

EVENTS_PER_RECORD_MAX = 1_000
FETCH_TIMEOUT_MS = 1_000

MESSAGES = {
    "LOG_EVENT_MISSING": "A record of usage.raw holds more events than the ledger has outcomes.",
    "LOG_ENTRY_EXTRA": "The ledger has more outcomes at a record than that record holds events.",
    "LOG_RECORD_UNKNOWN": "The ledger has outcomes at an offset at which usage.raw has no record.",
    "LOG_ENDS_EARLY": "usage.raw ends below what was applied: it was cut off or made again.",
}


@dataclass(frozen=True)
class Covered:
    """One partition of `usage.raw` as the ledger covers it; `holes` were accepted by persons."""

    partition: int
    epoch: int
    next_offset: int
    epoch_start: int
    holes: list[list[int]]

    def is_in_hole(self, offset: int) -> bool:
        """Whether a person decided that this offset is lost."""
        return any(first <= offset < following for first, following in self.holes)


@dataclass(frozen=True)
class Entries:
    """What the ledger holds at one offset: outcomes, and the MD5 of a dead letter's payload."""

    offset: int
    entries: int
    digest: str | None


@dataclass
class LogReport:
    """What was recounted and what is wrong."""

    records: int = 0
    events: int = 0
    found: dict[str, Discrepancy] = field(default_factory=dict)

    @property
    def discrepancies(self) -> list[Discrepancy]:
        """By code."""
        return [self.found[code] for code in sorted(self.found)]

    def add(self, code: str, **example: Any) -> None:
        """Count one place that is wrong; the first few are kept."""
        before = self.found.get(code, Discrepancy(code, MESSAGES[code], 0, []))
        examples: list[Row] = [*before.examples, example][:EXAMPLES_MAX]
        self.found[code] = Discrepancy(code, before.message, before.count + 1, examples)


def count_events(value: bytes | None) -> int:
    """Return how many outcomes a record must have; one that cannot be read is one dead letter."""
    try:
        found = json.loads((value or b"").decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return 1
    events = found.get("events") if isinstance(found, dict) else None
    if not isinstance(events, list) or len(events) > EVENTS_PER_RECORD_MAX:
        return 1
    return len(events)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


async def audit_log(
    settings: RuntimeSettings, connection: psycopg.Connection[Any], tell: Tell = tell_nobody
) -> LogReport:
    """Compare every covered record that the log still holds with the ledger, in one snapshot.

    `tell` hears how many offsets were looked at, of all that are covered by the partitions so far.
    Raises aiokafka.errors.KafkaError or psycopg.OperationalError when a server is unreachable.
    """
    report = LogReport()
    folder = resources.files("sinks") / "sql"
    with connection.transaction(), connection.cursor(row_factory=class_row(Covered)) as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        query = (folder / "audit_log_partitions.sql").read_bytes()
        partitions = cursor.execute(query, {"topic": settings.topics.raw}).fetchall()
        if not partitions:
            return report
        total = sum(one.next_offset - one.epoch_start for one in partitions)
        done = 0
        async with AIOKafkaConsumer(**reader_options(settings, "audit")) as reader:
            await require_topics(reader, settings.topics.raw)
            for covered in partitions:
                before = done - covered.epoch_start

                def reached(offset: int, before: int = before) -> None:
                    tell(before + offset, total)

                source = TopicPartition(settings.topics.raw, covered.partition)
                await _audit_partition(connection, reader, source, covered, report, reached)
                done += covered.next_offset - covered.epoch_start
    return report


async def _audit_partition(  # noqa: PLR0917 -- one audit's parts
    connection: psycopg.Connection[Any],
    reader: AIOKafkaConsumer,
    source: TopicPartition,
    covered: Covered,
    report: LogReport,
    reached: Callable[[int], None],
) -> None:
    log_start = (await reader.beginning_offsets([source]))[source]
    log_end = (await reader.end_offsets([source]))[source]
    if log_end < covered.next_offset:
        report.add("LOG_ENDS_EARLY", **_place(covered, log_end), applied=covered.next_offset)
    offsets = range(max(log_start, covered.epoch_start), min(log_end, covered.next_offset))
    with connection.cursor(name="audit_log", row_factory=class_row(Entries)) as cursor:
        cursor.itersize = 10_000
        query = (resources.files("sinks") / "sql" / "audit_log_entries.sql").read_bytes()
        values = {"partition": covered.partition, "epoch": covered.epoch, "first": offsets.start}
        ledger = iter(cursor.execute(query, values))
        current = next(ledger, None)
        async for offset, value in _records(reader, source, offsets, reached):
            current = _skip_unknown(covered, ledger, current, offset, report)
            here = current if current is not None and current.offset == offset else None
            _compare(covered, offset, value, here, report)
            current = next(ledger, None) if here else current
        _skip_unknown(covered, ledger, current, covered.next_offset, report)
    reached(covered.next_offset)


async def _records(
    reader: AIOKafkaConsumer,
    source: TopicPartition,
    offsets: range,
    reached: Callable[[int], None],
) -> AsyncIterator[tuple[int, bytes | None]]:
    """Offset and value of each committed record in the range."""
    if not offsets:
        return
    reader.assign([source])
    reader.seek(source, offsets.start)
    while (position := await reader.position(source)) < offsets.stop:
        reached(position)
        found = await reader.getmany(timeout_ms=FETCH_TIMEOUT_MS)
        for record in found.get(source, ()):
            if record.offset < offsets.stop:
                yield record.offset, record.value


def _skip_unknown(
    covered: Covered,
    ledger: Iterator[Entries],
    current: Entries | None,
    until: int,
    report: LogReport,
) -> Entries | None:
    """Report ledger entries below an offset: the log has no record there. Return the next one."""
    while current is not None and current.offset < until:
        report.add(
            "LOG_RECORD_UNKNOWN", **_place(covered, current.offset), outcomes=current.entries
        )
        current = next(ledger, None)
    return current


def _compare(
    covered: Covered, offset: int, value: bytes | None, here: Entries | None, report: LogReport
) -> None:
    events, outcomes = count_events(value), here.entries if here else 0
    report.records += 1
    report.events += events
    if events == outcomes or covered.is_in_hole(offset):
        return
    # One dead letter that keeps the record's every byte accounts for all that is in it.
    digest = hashlib.md5(value or b"", usedforsecurity=False).hexdigest()
    if here is not None and outcomes == 1 and here.digest == digest:
        return
    code = "LOG_EVENT_MISSING" if outcomes < events else "LOG_ENTRY_EXTRA"
    report.add(code, **_place(covered, offset), events=events, outcomes=outcomes)


def _place(covered: Covered, offset: int) -> Row:
    return {"partition": covered.partition, "epoch": covered.epoch, "offset": offset}

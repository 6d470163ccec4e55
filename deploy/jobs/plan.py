"""What a job reads, and what of it is wanted: pure."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from schemas.batch_id import PREFIX, unverified_positions
from schemas.rated import Entry

JOB_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class PlanError(Exception):
    """The job cannot be done as asked; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for, as it was said; kept with the job, so that it goes on as it began."""

    start: str | None = None
    end: str | None = None
    customers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    source: str | None = None  # another topic than usage.raw
    archive: str | None = None  # the folder of an archive, read before the topic
    prices: str = "as-billed"  # or `now`, or what a caller with prices of its own calls them


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a span: a broker time, or offsets of some partitions alone."""

    ms: int | None = None
    offsets: Mapping[int, int] = field(default_factory=dict)


OPEN_END = Bound()


def parse_bound(text: str | None, *, is_end: bool) -> Bound:
    """Read a time (ISO 8601 with a zone), PARTITION:OFFSET[,...], or a batch id.

    An end is exclusive, but for a batch id, whose own records belong to the span.
    Raises PlanError.
    """
    if text is None:
        return OPEN_END
    if text.startswith(PREFIX):
        found = unverified_positions(text)
        if found is None or not found.offsets:
            raise PlanError(f"{text} is no batch id")
        offset = max(found.offsets) + 1 if is_end else min(found.offsets)
        return Bound(offsets={found.partition: offset})
    if re.fullmatch(r"\d{1,9}:\d{1,18}(,\d{1,9}:\d{1,18})*", text):
        pairs = (one.split(":") for one in text.split(","))
        return Bound(offsets={int(partition): int(offset) for partition, offset in pairs})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise PlanError(
            f"{text!r}: expected a time with its zone (2026-06-01T00:00Z), "
            "PARTITION:OFFSET[,PARTITION:OFFSET], or a batch id"
        )
    return Bound(ms=int(moment.astimezone(UTC).timestamp() * 1_000))


@dataclass(frozen=True, slots=True)
class PartitionLog:
    """One partition as it is: what the log holds, and how far the ledger has come.

    `start` and `end`: the first offsets at or after the times asked for; None: there is none.
    """

    partition: int
    epoch: int
    begin: int  # the first offset of this epoch that the log still has
    following: int  # one beyond the last that the ledger applied; of another topic, the log's end
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Positions [first, end) of a partition in an epoch."""

    partition: int
    epoch: int
    first: int
    end: int


def spans_of(logs: Sequence[PartitionLog], start: Bound, end: Bound) -> list[Span]:
    """Return what is to be read, by partition. Where a bound names partitions, only those.

    A span never passes what the ledger has applied: beyond it there is nothing to compare with.
    Raises PlanError where the log does not hold what was asked for.
    """
    named = set(start.offsets) | set(end.offsets)
    unknown = named - {log.partition for log in logs}
    if unknown:
        raise PlanError(f"there are no partitions {sorted(unknown)}")
    spans = []
    for log in logs:
        if named and log.partition not in named:
            continue
        span = Span(log.partition, log.epoch, _first(log, start), _end(log, end))
        if span.first < span.end:
            spans.append(span)
        elif named:
            raise PlanError(
                f"partition {log.partition}: nothing between {span.first} and {span.end}"
            )
    return spans


def _first(log: PartitionLog, start: Bound) -> int:
    asked = start.offsets.get(log.partition)
    if asked is not None:
        if asked < log.begin:
            raise PlanError(
                f"partition {log.partition} begins at {log.begin}: {asked} is no longer there"
            )
        return asked
    if start.ms is not None:
        return log.following if log.start is None else max(log.begin, log.start)
    return log.begin


def _end(log: PartitionLog, end: Bound) -> int:
    asked = end.offsets.get(log.partition, log.end if end.ms is not None else None)
    return log.following if asked is None else min(asked, log.following)


@dataclass(frozen=True, slots=True)
class Revisions:
    """By which price revision the ledger's batches were rated: from `starts[i]` on."""

    starts: Sequence[int] = ()
    revisions: Sequence[int] = ()

    def at(self, offset: int) -> int | None:
        """Return the revision of an offset; of one before all batches, the first one's."""
        if not self.starts:
            return None
        return self.revisions[max(0, bisect_right(self.starts, offset) - 1)]


def by_revision(
    records: Iterable[Any], revisions: Revisions
) -> Iterable[tuple[int | None, list[Any]]]:
    """Cut records (each with its `offset`) where the price revision changes."""
    run: list[Any] = []
    current: int | None = None
    for record in records:
        revision = revisions.at(record.offset)
        if run and revision != current:
            yield current, run
            run = []
        current = revision
        run.append(record)
    if run:
        yield current, run


def is_wanted(entry: Entry, request: Request) -> bool:
    """Tell whether a verdict is written. Letters have no feature: none is, where one is asked."""
    fields: Mapping[str, Any] = cast("Mapping[str, Any]", entry)
    is_letter = entry["verdict"] == "dead-letter"
    event: Mapping[str, Any] = fields if is_letter else fields["event"]
    return (
        (not request.customers or event.get("customer_id") in request.customers)
        and (not request.models or event.get("model") in request.models)
        and (not request.features or event.get("feature_id") in request.features)
    )


def require_name(name: str) -> str:
    """Return a job's name: part of a schema's and a topic's. Raises PlanError."""
    if not JOB_NAME.fullmatch(name):
        raise PlanError(
            f"{name!r}: a job's name is a letter, then letters, digits and _, 40 at most, all small"
        )
    return name

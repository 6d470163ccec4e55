"""What is logged, counted and traced about a committed transaction."""

from collections import Counter

import structlog

from deploy.runtime.tracing import Tracing, handed_on
from schemas.rated import Kind
from sinks import metrics
from sinks.copy_rows import DEAD_LETTER_TYPES
from sinks.inbox import Gathering
from sinks.transaction import Work

log = structlog.get_logger("sinks")

LOGGED_EVENTS_MAX = 20
REASON_COLUMN = list(DEAD_LETTER_TYPES).index("reason")


def report(work: Work, seconds: float) -> None:
    """Count a committed transaction and log it: its events while they are few, else a summary.

    `seconds`: from the reading of the first record to the commit.
    """
    counts = {
        "charged": len(work.charges),
        "duplicate": sum(applied.repeated for applied in work.applied),
        "conflict": sum(applied.conflicts for applied in work.applied),
        "dead-letter": sum(len(applied.letters) for applied in work.applied),
        "refused": sum(applied.set_aside for applied in work.applied),
    }
    metrics.TRANSACTIONS.inc()
    metrics.TRANSACTION_EVENTS.observe(sum(counts.values()))
    for outcome, number in counts.items():
        metrics.EVENTS.labels(outcome).inc(number)
    for reason, number in Counter(row[REASON_COLUMN] for row in work.letter_rows).items():
        metrics.DEAD_LETTERS.labels(str(reason)).inc(number)
    _report_partitions(work)
    milliseconds = round(seconds * 1_000)
    if sum(counts.values()) > LOGGED_EVENTS_MAX:
        log.info(
            "Batch committed",
            charged=counts["charged"],
            duplicates=counts["duplicate"],
            conflicts=counts["conflict"],
            deadLetters=counts["dead-letter"] + counts["refused"],
            offsets=_offsets(work),
            processingTimeMs=milliseconds,
        )
        return
    for charge, applied in work.charges:
        entry = charge.entry
        log.info(
            "Event processed successfully",
            eventId=entry["event"]["event_id"],
            partition=applied.partition,
            offset=entry["offset"],
            credits=str(entry["credits"]),
            usd=short_usd(entry["cost_usd"]),
            processingTimeMs=milliseconds,
        )
    if sum(counts.values()) > counts["charged"]:
        log.info(
            "Events not charged",
            duplicates=counts["duplicate"] + counts["conflict"],
            deadLetters=counts["dead-letter"] + counts["refused"],
            offsets=_offsets(work),
            processingTimeMs=milliseconds,
        )


def _offsets(work: Work) -> dict[str, tuple[int, int]]:
    """Return the range of `usage.raw` that was applied of each partition: first, and one beyond."""
    return {
        str(one.reached.partition): (one.applied[0].first_offset, one.reached.next_offset)
        for one in work.clipped
        if one.applied
    }


def _report_partitions(work: Work) -> None:
    for clipped in work.clipped:
        partition = clipped.reached.partition
        metrics.REPLAYED_BATCHES.inc(clipped.replays)
        if clipped.passed_over:
            first = clipped.passed_over[0]
            metrics.PASSED_OVER.inc(len(clipped.passed_over))
            metrics.GAPPED.labels(partition).set(1)
            log.error(
                "Rated batches begin beyond a hole and are passed over",
                partition=partition,
                next_offset=clipped.reached.next_offset,
                first_offset=first.batch.first_offset,
                rated_offset=first.rated_offset,
                batches=len(clipped.passed_over),
            )
        elif clipped.applied:
            metrics.GAPPED.labels(partition).set(0)
        for applied in clipped.applied:
            if applied.record.batch.kind is not Kind.RATED:
                log.warning(
                    "An operator's decision was applied",
                    kind=applied.record.batch.kind,
                    partition=partition,
                    next_offset=applied.next_offset,
                    reason=applied.record.batch.reason,
                    decided_by=applied.record.batch.decided_by,
                )


def export_spans(tracing: Tracing, gathering: Gathering, work: Work, seconds: float) -> None:
    """Export a span for each traced record that the transaction applied, which took `seconds`."""
    applied = {(one.partition, one.record.rated_offset) for one in work.applied}
    for arrival in gathering.arrivals:
        partition = arrival.run.partition
        for record in arrival.run.records:
            if (partition, record.offset) in applied:
                traces = handed_on(record.headers)
                tracing.spans("apply", traces, seconds, {"partition": partition})


def short_usd(cost: str) -> str:
    """Return a cost without trailing zeros: "0.015000" is "0.015"."""
    return cost.rstrip("0").rstrip(".") if "." in cost else cost

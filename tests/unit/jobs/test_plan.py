"""What a job reads: the ends of its span, and which verdicts it writes."""

from dataclasses import dataclass
from typing import Any

import pytest

from deploy.jobs.plan import (
    Bound,
    PartitionLog,
    PlanError,
    Request,
    Revisions,
    Span,
    by_revision,
    is_wanted,
    parse_bound,
    require_name,
    spans_of,
)
from schemas.batch_id import BatchPositions, encode_batch_id

BATCH = encode_batch_id(b"secret", "cust", BatchPositions(2, (7, 9), 30))
LOGS = [PartitionLog(0, 0, 10, 100, start=40, end=60), PartitionLog(1, 3, 0, 50)]


@pytest.mark.parametrize(
    ("text", "is_end", "expected"),
    [
        (None, False, Bound()),
        ("2026-06-01T00:00Z", False, Bound(ms=1_780_272_000_000)),
        ("2026-06-01T02:00+02:00", True, Bound(ms=1_780_272_000_000)),
        ("0:12", False, Bound(offsets={0: 12})),
        ("0:12,3:4", True, Bound(offsets={0: 12, 3: 4})),
        (BATCH, False, Bound(offsets={2: 7})),
        (BATCH, True, Bound(offsets={2: 10})),
    ],
)
def test_an_end_is_a_time_offsets_or_a_batch(
    text: str | None, is_end: bool, expected: Bound
) -> None:
    """A batch's own records belong to the span that it ends."""
    assert parse_bound(text, is_end=is_end) == expected


@pytest.mark.parametrize("text", ["yesterday", "2026-06-01", "0:", "0:1,", "batch_x", ""])
def test_what_is_no_end_is_refused(text: str) -> None:
    """A time without a zone, too: it is not guessed at."""
    with pytest.raises(PlanError):
        parse_bound(text, is_end=False)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (Bound(), Bound(), [Span(0, 0, 10, 100), Span(1, 3, 0, 50)]),
        # Partition 1 has no record at or after that time.
        (Bound(ms=1), Bound(), [Span(0, 0, 40, 100)]),
        (Bound(ms=1), Bound(ms=2), [Span(0, 0, 40, 60)]),
        (Bound(offsets={1: 5}), Bound(), [Span(1, 3, 5, 50)]),
        (Bound(offsets={1: 5}), Bound(offsets={1: 9}), [Span(1, 3, 5, 9)]),
        # The ledger has come to 50 only.
        (Bound(), Bound(offsets={1: 90}), [Span(1, 3, 0, 50)]),
    ],
)
def test_spans(start: Bound, end: Bound, expected: list[Span]) -> None:
    """Partitions that a bound does not name are left out; nothing passes the ledger."""
    assert spans_of(LOGS, start, end) == expected


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (Bound(offsets={0: 9}), Bound()),  # retention took it
        (Bound(offsets={7: 0}), Bound()),
        (Bound(offsets={0: 50}), Bound(offsets={0: 50})),
    ],
)
def test_what_the_log_does_not_hold_is_refused(start: Bound, end: Bound) -> None:
    """Silence would pass for a complete replay."""
    with pytest.raises(PlanError):
        spans_of(LOGS, start, end)


@dataclass
class _Record:
    offset: int


def test_records_are_cut_where_the_revision_changes() -> None:
    """From a batch's first offset on; what is before all batches has the first one's."""
    known = Revisions([5, 8], [1, 2])
    cut = [
        (revision, [one.offset for one in records])
        for revision, records in by_revision(map(_Record, (3, 5, 7, 8, 12)), known)
    ]
    assert cut == [(1, [3, 5, 7]), (2, [8, 12])]
    assert Revisions().at(0) is None


def _charged(**fields: str) -> Any:
    return {"verdict": "charged", "event": fields}


@pytest.mark.parametrize(
    ("entry", "request_", "expected"),
    [
        (_charged(customer_id="a"), Request(), True),
        (_charged(customer_id="a"), Request(customers=("b", "a")), True),
        (_charged(customer_id="a"), Request(customers=("b",)), False),
        (_charged(customer_id="a", model="m"), Request(models=("m",), features=("f",)), False),
        (_charged(feature_id="f", model="m"), Request(models=("m",), features=("f",)), True),
        ({"verdict": "dead-letter", "customer_id": "a"}, Request(customers=("a",)), True),
        ({"verdict": "dead-letter", "customer_id": "a"}, Request(features=("f",)), False),
    ],
)
def test_what_is_wanted(entry: Any, request_: Request, expected: bool) -> None:
    """All filters hold; a letter has no feature."""
    assert is_wanted(entry, request_) is expected


@pytest.mark.parametrize("name", ["", "A", "1a", "a-b", 'a"b', "a" * 41])
def test_a_name_is_part_of_a_schema(name: str) -> None:
    """Nothing that Postgres or Kafka would read otherwise."""
    with pytest.raises(PlanError):
        require_name(name)
    assert require_name("june_2") == "june_2"

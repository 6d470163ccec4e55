"""Of any log and any bounds: what a plan never does."""

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from deploy.jobs.plan import Bound, PartitionLog, PlanError, Revisions, by_revision, spans_of

OFFSETS = st.integers(0, 50)
TIMES = st.none() | st.integers(0, 9)


@st.composite
def logs(draw: st.DrawFn) -> list[PartitionLog]:
    """Partitions with a beginning, an end, and where times asked for fall."""
    found = []
    for partition in range(draw(st.integers(1, 3))):
        begin = draw(OFFSETS)
        following = begin + draw(OFFSETS)
        place = st.none() | st.integers(begin, following + 5)
        found.append(PartitionLog(partition, 0, begin, following, draw(place), draw(place)))
    return found


BOUNDS = st.builds(Bound, TIMES) | st.builds(
    Bound, st.none(), st.dictionaries(st.integers(0, 3), OFFSETS)
)


@given(logs(), BOUNDS, BOUNDS)
def test_a_span_lies_within_the_log_and_the_ledger(
    held: list[PartitionLog], start: Bound, end: Bound
) -> None:
    """Never empty, never beyond what was applied or before what is kept; one per partition."""
    by_number = {log.partition: log for log in held}
    try:
        spans = spans_of(held, start, end)
    except PlanError:
        assert start.offsets or end.offsets
        return
    assert len({span.partition for span in spans}) == len(spans)
    for span in spans:
        log = by_number[span.partition]
        assert log.begin <= span.first < span.end <= log.following


@dataclass
class _Record:
    offset: int


@given(st.lists(OFFSETS, unique=True), st.lists(OFFSETS, unique=True))
def test_cutting_loses_nothing(offsets: list[int], starts: list[int]) -> None:
    """Records in their order, each under its own revision."""
    starts.sort()
    known = Revisions(starts, [start * 2 for start in starts])
    records = [_Record(offset) for offset in sorted(offsets)]
    cut = list(by_revision(records, known))
    assert [one for _, run in cut for one in run] == records
    assert all(known.at(one.offset) == revision for revision, run in cut for one in run)
    assert all(before[0] != after[0] for before, after in pairwise(cut))

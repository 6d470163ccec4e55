"""When a log calls for a person's decision, and what the decision says."""

from array import array
from dataclasses import replace

import pytest

from schemas.rated import Fold, Kind
from sinks.repair import PartitionState, RatedRecord, RepairError, Rest, plan_hole, plan_new_epoch

HEALTHY = PartitionState(
    partition=3,
    next_offset=600,
    rated_offset=50,
    rated_start=10,
    rated_end=60,
    raw_start=100,
    raw_end=700,
    first_younger_offset=600,
)


def ahead(first: int) -> RatedRecord:
    return RatedRecord(first, first + 10, None)


def fold(first: int, following: int, *times: tuple[int, int], kind: Kind = Kind.RATED) -> Fold:
    return Fold(kind, first, following, list(times), array("q"), b"")


def test_healthy_partition_calls_for_nothing() -> None:
    """Neither decision can be taken where streams and sinks go on by themselves."""
    with pytest.raises(RepairError, match="needs no new epoch"):
        plan_new_epoch(HEALTHY)
    with pytest.raises(RepairError, match="no hole to accept"):
        plan_hole(HEALTHY)
    # Passed over, but streams can still fill the hole from the raw log.
    with pytest.raises(RepairError, match="no hole to accept"):
        plan_hole(replace(HEALTHY, ahead=[ahead(650)]))


def test_a_person_may_say_where_the_new_log_begins() -> None:
    """Where broker times do not tell; it must be in the log."""
    assert plan_new_epoch(HEALTHY, 100) == 100
    assert plan_new_epoch(HEALTHY, 700) == 700
    for offset in (99, 701):
        with pytest.raises(RepairError, match="cannot go on"):
            plan_new_epoch(HEALTHY, offset)


def test_what_was_rated_and_is_lost_is_rated_again() -> None:
    """The raw log holds it: a new epoch goes on at the position, a hole would lose it."""
    lost = replace(HEALTHY, rated_start=55, ahead=[ahead(650)])
    assert plan_new_epoch(lost) == 600
    with pytest.raises(RepairError, match="repair new-epoch 3"):
        plan_hole(lost)
    with pytest.raises(RepairError, match="needs no new epoch"):
        plan_new_epoch(replace(lost, raw_start=610))


@pytest.mark.parametrize(
    ("raw_end", "first_younger", "starts_at"),
    [(0, None, 0), (550, None, 550), (550, 520, 520), (650, 550, 550)],
)
def test_new_epoch_starts_at_the_first_younger_record(
    raw_end: int, first_younger: int | None, starts_at: int
) -> None:
    """Older records were applied in the epoch before; without a younger one, the log's end."""
    state = replace(HEALTHY, raw_end=raw_end, first_younger_offset=first_younger)
    assert plan_new_epoch(state) == starts_at


def test_hole_ends_where_something_can_be_applied() -> None:
    """At the raw log's start, or at the first batch that was passed over."""
    assert plan_hole(replace(HEALTHY, raw_start=640)) == 640
    assert plan_hole(replace(HEALTHY, raw_start=680, ahead=[ahead(660), ahead(650)])) == 650
    gone = replace(HEALTHY, raw_start=640, rated_start=55, ahead=[ahead(630)])
    assert plan_hole(gone) == 630


def test_rest_is_folded_by_the_sinks_rule() -> None:
    """Batches apply in turn, replays do nothing, what is ahead is passed over."""
    rest = Rest(next_offset=10, max_broker_time=5)
    for one in (fold(8, 10, (8, 5)), fold(20, 30, (20, 9)), fold(10, 15, (10, 6)), fold(40, 50)):
        rest.add(None, one)
    assert (rest.next_offset, rest.max_broker_time) == (15, 6)
    assert [one.first_offset for one in rest.ahead] == [20, 40]
    rest.add(None, fold(15, 30, (15, 8)))
    assert [one.first_offset for one in rest.ahead] == [40]
    assert not rest.is_refused


def test_rest_notices_where_a_sink_stops() -> None:
    """A batch that names applied offsets with a younger time is refused, not applied."""
    rest = Rest(next_offset=10, max_broker_time=5)
    rest.add(None, fold(8, 12, (8, 7)))
    assert (rest.is_refused, rest.next_offset) == (True, 10)
    rest.add(None, fold(0, 3, kind=Kind.NEW_EPOCH))
    assert rest.next_offset == 3

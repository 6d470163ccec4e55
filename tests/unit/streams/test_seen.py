from array import array

import pytest

from schemas.identity import identities
from schemas.rated import Cover, Fold, Kind, pack_position
from streams.rated_fold import RatedFold
from streams.seen import BrokerClock, SeenPartition, clip_times
from tests.seen_lookup import find_each
from tests.unit.streams.raw_records import HOUR_MS, NOW_MS, WINDOW_MS


def fold(first: int, following: int, *numbers: int, ms: int = NOW_MS) -> Fold:
    """Return a batch that charges event `n` at offset first, first + 1 ... for n in numbers."""
    own = [identities("c", str(number))[0] for number in numbers]
    positions = array("q", [pack_position(first + at, 0) for at in range(len(numbers))])
    return Fold(Kind.RATED, first, following, [(first, ms)], positions, b"".join(own))


def new_epoch(following: int) -> Fold:
    return Fold(Kind.NEW_EPOCH, 0, following, [], array("q"), b"")


def at(seen: SeenPartition, number: int, ms: int = NOW_MS) -> int | None:
    """Return the offset at which event `number` was charged, as seen at `ms`."""
    (position,) = find_each(seen, identities("c", str(number))[0], [ms])
    return None if position == -1 else position >> 10


@pytest.fixture
def seen() -> SeenPartition:
    partition = SeenPartition(WINDOW_MS)
    partition.fold.start_at(0)
    return partition


def test_the_first_batch_to_cover_a_position_wins(seen: SeenPartition) -> None:
    """What a zombie wrote behind is ignored, what it wrote beyond the end is clipped."""
    assert seen.apply(fold(0, 3, 1, 2, 3), 0) is Cover.NEXT
    assert seen.apply(fold(0, 3, 4, 5, 6), 1) is Cover.REPLAY
    assert seen.apply(fold(2, 5, 7, 8, 9), 2) is Cover.NEXT
    assert [at(seen, n) for n in range(1, 10)] == [0, 1, 2, None, None, None, None, 3, 4]
    assert (seen.fold.next_offset, seen.rated_offset) == (5, 3)


def test_a_batch_that_starts_ahead_is_passed_over(seen: SeenPartition) -> None:
    """A batch behind a hole leaves nothing until its positions come again."""
    assert seen.apply(fold(5, 6, 1), 0) is Cover.AHEAD
    assert (at(seen, 1), seen.fold.next_offset, seen.fold.ahead_count) == (None, 0, 1)


def test_a_new_epoch_forgets_everything(seen: SeenPartition) -> None:
    """When an operator says that the log was made again, old positions mean nothing."""
    seen.apply(fold(0, 3, 1, 2, 3), 0)
    seen.apply(new_epoch(0), 1)
    assert (len(seen), seen.fold.next_offset) == (0, 0)
    seen.apply(fold(0, 1, 9), 2)
    assert (at(seen, 9), at(seen, 1)) == (0, None)


def test_a_hole_is_covered_without_entries(seen: SeenPartition) -> None:
    """An accepted hole moves the position on."""
    seen.apply(Fold(Kind.HOLE, 0, 10, [], array("q"), b""), 0)
    assert seen.fold.next_offset == 10


def test_what_is_too_old_is_dropped_and_was_not_counting_any_more(seen: SeenPartition) -> None:
    """Memory is bounded by the window, and an identity charged again later stays."""
    seen.apply(fold(0, 2, 1, 2), 0)
    assert at(seen, 1, NOW_MS + WINDOW_MS + 1) is None
    later_ms = NOW_MS + WINDOW_MS + 2
    seen.apply(fold(2, 3, 2, ms=later_ms), 1)
    seen.apply(fold(3, 4, 3, ms=later_ms + 2 * HOUR_MS), 2)
    assert (len(seen), at(seen, 1), at(seen, 2, later_ms)) == (2, None, 2)


def test_a_batch_is_as_old_as_its_latest_record(seen: SeenPartition) -> None:
    """The clock stepped back within it: what was charged before the step is kept as long."""
    charged = fold(0, 1, 1)
    back = [(0, NOW_MS), (1, NOW_MS - HOUR_MS)]
    seen.apply(Fold(Kind.RATED, 0, 2, back, charged.positions, charged.identities), 0)
    seen.apply(fold(2, 3, 2, ms=NOW_MS + WINDOW_MS + HOUR_MS // 2), 1)
    assert at(seen, 1, NOW_MS + WINDOW_MS) == 0


def test_broker_times_are_kept_run_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of any record is found among the runs of equal times."""
    clock = BrokerClock()
    for offset, ms in ((10, 100), (12, 100), (15, 200), (20, 300)):
        clock.add(offset, ms)
    assert [clock.at(offset) for offset in (9, 10, 14, 15, 99)] == [None, 100, 100, 200, 300]
    clock.drop_below(21)
    assert clock.at(15) == 200  # a log is compared by it
    monkeypatch.setattr("streams.seen.TIMES_KEPT", 0)
    clock.drop_below(21)
    assert (clock.at(15), clock.at(21), clock.latest_ms) == (None, 300, 300)


def test_clipped_times_begin_at_the_clip() -> None:
    """Cutting a batch's beginning off keeps the time that holds there."""
    times = [(10, 100), (20, 200), (30, 300)]
    assert clip_times(times, 25) == [(25, 200), (30, 300)]
    assert clip_times(times, 5) == times


def test_a_fold_that_begins_in_the_middle_finds_its_place() -> None:
    """The first batch is where it begins; once it is settled what starts ahead is passed over."""
    rated = RatedFold()
    assert rated.apply(Kind.RATED, 50, 200) is Cover.NEXT
    assert rated.apply(Kind.RATED, 60, 150) is Cover.REPLAY  # a zombie's, far behind
    assert rated.apply(Kind.RATED, 200, 300) is Cover.NEXT
    rated.settle()
    assert rated.apply(Kind.RATED, 400, 500) is Cover.AHEAD
    assert rated.apply(Kind.RATED, 300, 400) is Cover.NEXT
    assert rated.next_offset == 400


def test_a_fold_that_met_nothing_cannot_be_settled() -> None:
    """Without any batch the position stays unknown."""
    rated = RatedFold()
    rated.settle()
    assert not rated.is_known
    assert rated.apply(Kind.RATED, 7, 9) is Cover.NEXT

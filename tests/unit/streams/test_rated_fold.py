import pytest

from schemas.rated import Cover, Kind
from streams.rated_fold import BegunTooLateError, RatedFold


def test_a_fold_begun_in_the_middle_swallows_no_batch_ahead() -> None:
    """Before it has settled it cannot tell a hole from its own late beginning: it gives up."""
    fold = RatedFold()
    assert fold.apply(Kind.RATED, 500, 550) is Cover.NEXT
    with pytest.raises(BegunTooLateError):
        fold.apply(Kind.RATED, 600, 650)


def test_a_fold_begun_with_a_batch_ahead_gives_up_when_the_hole_is_filled() -> None:
    """Whoever starts below the beginning tells that the beginning was passed over."""
    fold = RatedFold()
    fold.apply(Kind.RATED, 600, 650)
    fold.settle()
    with pytest.raises(BegunTooLateError):
        fold.apply(Kind.RATED, 550, 620)


def test_a_fold_of_the_whole_log_begins_with_its_first_record_and_is_strict() -> None:
    """Retention took what was before; from there on the sink's rule holds to the letter."""
    fold = RatedFold()
    fold.start_with_log()
    covers = [fold.apply(Kind.RATED, *span) for span in ((500, 550), (600, 650), (540, 560))]
    assert covers == [Cover.NEXT, Cover.AHEAD, Cover.NEXT]
    assert (fold.next_offset, fold.ahead_count) == (560, 1)


def test_a_new_epoch_is_a_beginning() -> None:
    """After it everything before is of no account, also for a fold begun in the middle."""
    fold = RatedFold()
    fold.apply(Kind.RATED, 500, 550)
    fold.apply(Kind.NEW_EPOCH, 550, 0)
    assert fold.apply(Kind.RATED, 600, 650) is Cover.AHEAD
    assert fold.apply(Kind.RATED, 0, 3) is Cover.NEXT

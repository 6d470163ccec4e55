"""What a rated record means at the position reached."""

from collections.abc import Sequence

import pytest

from schemas.rated import Entry, Kind, RatedBatch, encode_batch
from sinks.batch import LogMadeAgainError, RatedRecord, Reached, clip, read_record
from tests.rated_batches import batch, charged, dead_letter, duplicate, event_id, record

REACHED = Reached(0, 3, 10, 5, 1_000)


def offsets(entries: Sequence[object]) -> list[int]:
    return [entry["offset"] for entry in entries]  # type: ignore[index]


def mixed(first: int, following: int) -> RatedBatch:
    entries = [charged(o) for o in range(first, following)]
    return batch(first, following, entries)


def test_a_record_is_split_by_verdict() -> None:
    """Charged events get their rows; duplicates and letters are kept apart, in order."""
    found = record(
        7,
        batch(
            0,
            4,
            [
                charged(0),
                duplicate(1, 0, of_event=event_id(1)),
                charged(2),
                dead_letter(3, b"x"),
            ],
        ),
    )
    assert [charge.entry["offset"] for charge in found.charges] == [0, 2]
    assert offsets(found.duplicates) == [1]
    assert offsets(found.letters) == [3]
    assert found.events == 4


def test_an_unknown_verdict_is_no_record_of_ours() -> None:
    """A later release's verdict is not skipped: it stops the reader."""
    entry = charged(0) | {"verdict": "maybe"}
    with pytest.raises(ValueError, match="unknown verdict 'maybe'"):
        read_record(0, encode_batch(batch(0, 1, [entry])))  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("first", "following", "applied"),
    [(10, 12, [10, 11]), (8, 12, [10, 11]), (8, 10, []), (0, 5, []), (11, 12, [])],
)
def test_the_first_batch_to_cover_a_position_wins(
    first: int, following: int, applied: list[int]
) -> None:
    """At 10: what begins there counts, what straddles is clipped, the rest is not applied."""
    found = clip(REACHED, [record(5, mixed(first, following))])
    charges = [charge.entry["offset"] for one in found.applied for charge in one.charges]
    assert charges == applied
    assert found.reached.next_offset == (following if applied else 10)


def test_clipping_cuts_duplicates_and_letters_too() -> None:
    """Counts after clipping are of what lies beyond the position."""
    entries: list[Entry] = [
        duplicate(8, 0, of_event=event_id(1)),
        dead_letter(9, b"x"),
        duplicate(10, 0, of_event=event_id(1)),
        dead_letter(11, b"x"),
    ]
    (applied,) = clip(REACHED, [record(5, batch(8, 12, entries))]).applied
    assert (offsets(applied.duplicates), offsets(applied.letters)) == ([10], [11])
    assert (applied.first_offset, applied.next_offset, applied.epoch) == (10, 12, 3)


def test_a_batch_ahead_holds_rated_offset_until_the_hole_is_filled() -> None:
    """Replays behind it do not move it on; what fills the hole does."""
    ahead, replay, fill = mixed(12, 13), mixed(0, 5), mixed(10, 13)
    found = clip(REACHED, [record(5, ahead), record(6, replay)])
    assert (found.reached.rated_offset, len(found.passed_over), found.replays) == (5, 1, 1)

    found = clip(REACHED, [record(5, ahead), record(6, fill)])
    assert (found.reached.rated_offset, found.reached.next_offset) == (7, 13)


def test_a_replay_in_its_turn_need_not_be_read_again() -> None:
    """An idle partition whose last record is a replay does not stay behind for ever."""
    assert clip(REACHED, [record(5, mixed(0, 5))]).reached.rated_offset == 6


def test_a_later_broker_time_below_the_position_is_a_log_made_again() -> None:
    """Also in a batch that straddles it; at the position itself it is news."""
    for first, following in ((0, 5), (9, 12)):
        late = batch(first, following, [charged(first)], broker_time=1_001)
        with pytest.raises(LogMadeAgainError, match="repair new-epoch"):
            clip(REACHED, [record(5, late)])
    news = batch(10, 12, [charged(10)], broker_time=1_001)
    assert clip(REACHED, [record(5, news)]).reached.max_broker_time == 1_001


def test_an_older_broker_time_does_not_lower_the_maximum() -> None:
    """A broker's clock may step back."""
    older = batch(10, 11, [charged(10)], broker_time=1)
    assert clip(REACHED, [record(5, older)]).reached.max_broker_time == 1_000


def test_a_new_epoch_sets_the_position_and_counts_on() -> None:
    """Its row stands under the epoch that ends, from the position that had been reached."""
    decision = record(5, batch(10, 2, kind=Kind.NEW_EPOCH))
    found = clip(REACHED, [decision, record(6, mixed(2, 3))])
    ended, news = found.applied
    assert (ended.epoch, ended.first_offset, ended.next_offset) == (3, 10, 2)
    assert (news.epoch, news.first_offset) == (4, 2)
    assert (found.reached.epoch, found.reached.next_offset) == (4, 3)


def test_a_new_epoch_that_was_applied_is_not_applied_again() -> None:
    """A sink that read it before another applied it must not set the position back."""
    found = clip(REACHED, [record(4, batch(0, 0, kind=Kind.NEW_EPOCH))])
    assert (found.reached, found.replays) == (REACHED, 1)


def test_what_no_row_can_hold_is_known_before_the_transaction() -> None:
    """The refusal stands beside the charge, which goes on in its order."""
    found: RatedRecord = record(0, batch(0, 1, [charged(0, user_id="a\0b")]))
    assert found.charges[0].refusal == "text must not hold the character U+0000"


def test_a_gap_is_what_is_still_missing_at_the_end() -> None:
    """Passed over, then covered by what came behind: nothing is missing any more."""
    beyond, filler = record(5, mixed(12, 14)), record(6, mixed(10, 14))
    assert clip(REACHED, [beyond]).is_gapped
    assert not clip(REACHED, [beyond, filler]).is_gapped
    assert clip(REACHED, [beyond, record(6, mixed(10, 12))]).is_gapped

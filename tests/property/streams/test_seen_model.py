"""`seen` against a plain dict that forgets nothing: whatever the history, the same answers."""

from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rated import Cover, Fold, Kind, pack_position
from streams import identity_map
from streams.seen import CLOCK_SLACK_MS, SeenPartition
from tests.seen_lookup import find_each

WINDOW_MS = 3_600_000
NUMBERS = 40
# So small that a short history fills chunks, drops them, and outgrows its index.
SMALL = {"CHUNK_ENTRIES": 8, "SLOTS_MIN": 4}


def identity(number: int) -> bytes:
    """Return an identity that many others are like: in their slot, in what tells them there."""
    high = (number % 4) << 32 | number
    return (number % 3).to_bytes(8, "little") + high.to_bytes(8, "little")


EVERYONE = b"".join(identity(number) for number in range(NUMBERS))

_gaps_ms = st.sampled_from(
    (0, 1, WINDOW_MS // 7, WINDOW_MS // 2, WINDOW_MS, WINDOW_MS + 1, -CLOCK_SLACK_MS // 2)
)
_records = st.tuples(_gaps_ms, st.lists(st.integers(0, NUMBERS - 1), max_size=12))
_batches = st.tuples(
    st.sampled_from((Kind.RATED,) * 12 + (Kind.HOLE, Kind.NEW_EPOCH)),
    st.integers(-2, 1),  # begins so far from where it should
    st.lists(_records, min_size=1, max_size=5),
)


class History:
    """The table as it is, and a dict of what it ought to know."""

    def __init__(self) -> None:
        self.seen = SeenPartition(WINDOW_MS)
        self.seen.fold.start_at(0)
        self.known: dict[int, tuple[int, int]] = {}  # number -> position, broker time
        self.ms = self.latest_ms = 1_700_000_000_000
        self.rated_offset = 0

    def write(self, kind: Kind, shift: int, records: list[tuple[int, list[int]]]) -> None:
        """Fold one batch; what lies below the position was charged by another."""
        below = self.seen.fold.next_offset
        first = max(0, below + shift)
        times: list[tuple[int, int]] = []
        positions, identities = array("q"), b""
        charged: list[tuple[int, int, int]] = []
        for offset, (gap_ms, numbers) in enumerate(records if kind is Kind.RATED else [], first):
            self.ms = max(self.ms + gap_ms, self.latest_ms - CLOCK_SLACK_MS)
            self.latest_ms = max(self.ms, self.latest_ms)
            times.append((offset, self.ms))
            for index, number in enumerate(numbers):
                positions.append(pack_position(offset, index))
                identities += identity(number)
                charged.append((number, positions[-1], self.ms))
        following = first + len(records) if kind is not Kind.NEW_EPOCH else first
        fold = Fold(kind, first, following, times, positions, identities)
        covering = self.seen.apply(fold, self.rated_offset)
        self.rated_offset += 1
        if covering is Cover.NEXT and kind is Kind.NEW_EPOCH:
            self.known.clear()
        elif covering is Cover.NEXT:
            for number, position, ms in charged:
                if position >= pack_position(below, 0):
                    self.known[number] = (position, ms)

    def expected(self, ms: int) -> list[int]:
        """Return what a look-up of everyone must find."""
        never = (-1, ms + WINDOW_MS + 1)
        found = [self.known.get(number, never) for number in range(NUMBERS)]
        return [at if abs(ms - then) <= WINDOW_MS else -1 for at, then in found]


@settings(max_examples=400, deadline=None)
@given(drawn=st.lists(_batches, max_size=15))
def test_seen_answers_as_a_dict_that_forgets_nothing(drawn: list[Any]) -> None:
    """Duplicates in a batch, charged again, clipped, pruned, clocks that step back: no matter."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setattr(identity_map, name, value)
        history = History()
        for number, (kind, shift, records) in enumerate(drawn):
            history.write(kind, shift, records)
            if number % 3 == 0:  # else the next look-up finds more that was never looked up
                for ms in (history.latest_ms - CLOCK_SLACK_MS, history.ms, history.ms + WINDOW_MS):
                    found = find_each(history.seen, EVERYONE, [ms] * NUMBERS)
                    assert found == history.expected(ms)

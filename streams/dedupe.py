"""Which events of a part of a run were charged before, as far as `seen` knows."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain

from schemas.identity import identities_each
from streams.decode import DecodedRecord, Letter
from streams.seen import SeenPartition, found_at


@dataclass(frozen=True, slots=True)
class Judged:
    """What `seen` says of the events of a part: an entry each, in order.

    `identities` are empty where `seen` neither judges nor will remember: letters, replays of
    letters and corrections, of which Postgres decides. `of_positions` are packed; None: first, or
    not judged.
    """

    identities: list[tuple[bytes, ...]] = field(default_factory=list)
    of_positions: list[int | None] = field(default_factory=list)


def judge(records: Sequence[DecodedRecord], seen: SeenPartition) -> Judged:
    """Return, per event, its identities and the charged event that it repeats, if any."""
    judged = [
        event
        for record in records
        if record.is_judged
        for event in record.events
        if not isinstance(event, Letter)
    ]
    own = identities_each(judged)
    if len(judged) < sum(len(record.events) for record in records):
        following = iter(own)
        own = [
            () if not record.is_judged or isinstance(event, Letter) else next(following)
            for record in records
            for event in record.events
        ]
    of_positions: list[int | None] = [None] * len(own)
    found = seen.find(b"".join(chain.from_iterable(own)))
    numbers = found_at(found)
    if numbers:
        broker_times = [record.broker_ms for record in records for _ in record.events]
        ends = list(accumulate(map(len, own)))
        for number in numbers:
            event = bisect_right(ends, number)
            if seen.is_in_window(found[number], broker_times[event]):
                of_positions[event] = earlier(of_positions[event], found[number])
    return Judged(own, of_positions)


def earlier(position: int | None, other: int) -> int:
    """Return the first of the positions at which an event's identities were charged."""
    return other if position is None else min(position, other)

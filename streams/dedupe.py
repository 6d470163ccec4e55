"""Which events of a part of a run were charged before, as far as `seen` knows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from schemas.identity import identities
from streams.decode import DecodedRecord, Letter
from streams.identity_map import NOT_FOUND
from streams.seen import SeenPartition


@dataclass(frozen=True, slots=True)
class Judged:
    """What `seen` says of the events of a part: an entry each, in order.

    `identities` are empty where `seen` neither judges nor will remember: letters, and replays of
    letters, of which Postgres decides. `of_positions` are packed; None: first, or not judged.
    """

    identities: list[tuple[bytes, ...]] = field(default_factory=list)
    of_positions: list[int | None] = field(default_factory=list)


def judge(records: Sequence[DecodedRecord], seen: SeenPartition) -> Judged:
    """Return, per event, its identities and the charged event that it repeats, if any."""
    own: list[tuple[bytes, ...]] = []
    packed: list[bytes] = []
    broker_times: list[int] = []
    for record in records:
        for event in record.events:
            if record.replay_of is not None or isinstance(event, Letter):
                own.append(())
                continue
            of_event = identities(
                event["customer_id"], event["event_id"], event.get("idempotency_key")
            )
            own.append(of_event)
            packed += of_event
            broker_times += [record.broker_ms] * len(of_event)
    found = seen.find_each(b"".join(packed), broker_times)
    if found.count(NOT_FOUND) == len(found):  # the usual part
        return Judged(own, [None] * len(own))
    positions = iter(found)
    return Judged(own, [first_of(positions, len(of_event)) for of_event in own])


def first_of(positions: Iterator[int], count: int) -> int | None:
    """Return the first of the next few positions, of an event's identities; None: no charge."""
    first = None
    for position in islice(positions, count):
        if position != NOT_FOUND and (first is None or position < first):
            first = position
    return first

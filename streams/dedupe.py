"""Which events of a part of a run were charged before, as far as `seen` knows."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from schemas.identity import identities
from streams.decode import DecodedRecord, Letter
from streams.identity_map import NOT_FOUND
from streams.seen import SeenPartition


class Judged(NamedTuple):
    """What `seen` says of one event.

    `identities` is empty where `seen` neither judges nor will remember: letters, and replays of
    letters, of which Postgres decides. `of_position` is packed; None: first, or not judged.
    """

    identities: tuple[bytes, ...]
    of_position: int | None = None


NOT_JUDGED = Judged(())


def judge(records: Sequence[DecodedRecord], seen: SeenPartition) -> list[list[Judged]]:
    """Return, per record and event, its identities and the charged event it repeats, if any."""
    own: list[tuple[bytes, ...]] = []  # of each event; none where `seen` does not judge it
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
    positions = iter(seen.find_each(b"".join(packed), broker_times))
    judged = iter([Judged(of_event, first_of(positions, len(of_event))) for of_event in own])
    return [list(islice(judged, len(record.events))) for record in records]


def first_of(positions: Iterator[int], count: int) -> int | None:
    """Return the first of the next few positions, of an event's identities; None: no charge."""
    first = None
    for position in islice(positions, count):
        if position != NOT_FOUND and (first is None or position < first):
            first = position
    return first

"""Which events of a part of a run were charged before, as far as `seen` knows."""

from collections.abc import Sequence
from typing import NamedTuple

from schemas.identity import identities
from streams.decode import DecodedRecord, Letter
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
    judged = []
    for record in records:
        if record.replay_of is not None:
            judged.append([NOT_JUDGED] * len(record.events))
            continue
        found = []
        for event in record.events:
            if isinstance(event, Letter):
                found.append(NOT_JUDGED)
                continue
            own = identities(event["customer_id"], event["event_id"], event.get("idempotency_key"))
            found.append(Judged(own, seen.find(own, record.broker_ms)))
        judged.append(found)
    return judged

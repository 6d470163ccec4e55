"""Which events of a part of a run were charged before, as far as `seen` knows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.identity import identities
from streams.decode import DecodedRecord, Letter
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
    judged = Judged()
    for record in records:
        broker_ms = record.broker_ms
        for event in record.events:
            if record.replay_of is not None or isinstance(event, Letter):
                judged.identities.append(())
                judged.of_positions.append(None)
                continue
            own = identities(event["customer_id"], event["event_id"], event.get("idempotency_key"))
            judged.identities.append(own)
            judged.of_positions.append(seen.find(own, broker_ms))
    return judged

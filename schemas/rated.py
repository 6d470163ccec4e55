"""The rated batch: the one commit record of the stream stage, and the changelog of `seen`.

A batch covers the positions [first_offset, next_offset) of one partition of `usage.raw` and holds
one verdict per event of that range. Whoever folds a partition of `usage.rated` (the sinks into the
ledger, the streams into what they have seen) does it by one rule, `cover`: the first batch to cover
a position wins; what lies below is clipped; a batch that starts ahead is passed over.

The headers repeat what a fold needs, packed, so that it need not read the JSON value.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from struct import Struct
from typing import Any, Literal, NotRequired, TypedDict, cast

import orjson

from schemas.corrections import Void
from schemas.events import UsageEvent
from schemas.formats import require_known
from schemas.identity import IDENTITY_BYTES
from schemas.topics import EVENTS_PER_RECORD_MAX

FORMAT = 1
# Of the value of a batch with a correction: an older release would charge it and undo nothing.
FORMAT_WITH_CORRECTIONS = 2

# A position within a partition is one integer: offset and index. An index is below 1,024.
INDEX_BITS = 10
if 1 << INDEX_BITS < EVENTS_PER_RECORD_MAX:
    raise AssertionError("an index does not fit in a packed position")


def pack_position(offset: int, index: int) -> int:
    """Return (offset, index) as one integer that orders as they do."""
    return offset << INDEX_BITS | index


def unpack_position(position: int) -> tuple[int, int]:
    """Return the (offset, index) of a packed position."""
    return position >> INDEX_BITS, position & ((1 << INDEX_BITS) - 1)


class Kind(StrEnum):
    """What a record of `usage.rated` is."""

    RATED = "rated"  #: verdicts of events
    HOLE = "hole"  #: an operator accepted that [first, next) is lost
    NEW_EPOCH = "new-epoch"  #: an operator declared that the raw log was made again


_KIND_CODES = {Kind.RATED: 0, Kind.HOLE: 1, Kind.NEW_EPOCH: 2}
_KIND_OF_CODE = {code: kind for kind, code in _KIND_CODES.items()}


class ChargedEntry(TypedDict):
    """An event that costs what it says (0 credits included)."""

    offset: int
    index: int
    verdict: Literal["charged"]
    event: UsageEvent
    credits: int
    cost_usd: str
    price_ids: Sequence[str]
    replay_of: NotRequired[str]
    voids: NotRequired[Void]  # of a correction: what is undone by it


class DuplicateEntry(TypedDict):
    """An event that repeats one charged at another position of this partition.

    It carries the event: the sink looks whether what it repeats is really in the ledger.
    """

    offset: int
    index: int
    verdict: Literal["duplicate"]
    event: UsageEvent
    of_offset: int
    of_index: int


class DeadLetterEntry(TypedDict):
    """An event, or a record as a whole (index 0), that cannot be charged as it is."""

    offset: int
    index: int
    verdict: Literal["dead-letter"]
    reason: str
    message: str
    customer_id: str | None
    event_id: str | None
    idempotency_key: str | None
    provider: str | None
    model: str | None
    payload: str  # base64 of the original bytes
    key: str | None  # base64 of the record's key
    replay_of: NotRequired[str]


Entry = ChargedEntry | DuplicateEntry | DeadLetterEntry
# customer, UTC hour (ISO 8601, Z), credits, cost in USD, events
Total = tuple[str, str, int, str, int]
# From this offset on, the broker's time in epoch milliseconds.
BrokerTimes = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class RatedBatch:
    """One record of `usage.rated`. Entries stand in (offset, index) order."""

    partition: int
    first_offset: int
    next_offset: int
    price_revision: int
    broker_times: BrokerTimes
    events: list[Entry]
    totals: list[Total] = field(default_factory=list)
    kind: Kind = Kind.RATED
    reason: str | None = None
    decided_by: str | None = None

    @property
    def max_broker_time(self) -> int:
        """The latest broker time of the records covered, epoch milliseconds; 0: no records."""
        return max((ms for _, ms in self.broker_times), default=0)


def encode_batch(batch: RatedBatch, encoded: bytes | None = None) -> bytes:
    """Return the value of the record: JSON with `events` at the top.

    `encoded`: the entries as JSON, with commas between, where they are that already; then the
    batch's own need be no more than those that are corrections.
    """
    has_corrections = any("voids" in entry for entry in batch.events)
    value: dict[str, Any] = {
        "format": FORMAT_WITH_CORRECTIONS if has_corrections else FORMAT,
        "kind": batch.kind,
        "partition": batch.partition,
        "first_offset": batch.first_offset,
        "next_offset": batch.next_offset,
        "price_revision": batch.price_revision,
        "broker_times": batch.broker_times,
        "events": batch.events if encoded is None else orjson.Fragment(b"[%b]" % encoded),
        "totals": batch.totals,
    }
    if batch.reason is not None:
        value |= {"reason": batch.reason, "decided_by": batch.decided_by}
    return orjson.dumps(value)


def decode_batch(value: bytes) -> RatedBatch:
    """Read what `encode_batch` wrote; raises ValueError. Only our processes write this topic."""
    found = orjson.loads(value)
    require_known("a rated batch", found["format"], FORMAT_WITH_CORRECTIONS)
    return RatedBatch(
        partition=found["partition"],
        first_offset=found["first_offset"],
        next_offset=found["next_offset"],
        price_revision=found["price_revision"],
        broker_times=[(offset, ms) for offset, ms in found["broker_times"]],
        events=found["events"],
        totals=[cast("Total", tuple(total)) for total in found["totals"]],
        kind=Kind(found["kind"]),
        reason=found.get("reason"),
        decided_by=found.get("decided_by"),
    )


class Cover(IntEnum):
    """What a batch is to somebody who has covered everything below `next_offset`."""

    REPLAY = 0  #: lies below: nothing of it counts
    NEXT = 1  #: begins at or below and reaches beyond: counts from `next_offset` on
    AHEAD = 2  #: begins beyond: passed over, its events come again behind what fills the hole


def cover(next_offset: int, first: int, following: int) -> Cover:
    """Tell what the batch [first, following) is at `next_offset`: the one rule of every fold."""
    if first > next_offset:
        return Cover.AHEAD
    return Cover.NEXT if following > next_offset else Cover.REPLAY


@dataclass(frozen=True, slots=True)
class Fold:
    """What `seen` needs of a batch: its range, its broker times, the identities it charged.

    `identities` holds 16 bytes each, in the order of `positions` (packed positions, ascending).
    """

    kind: Kind
    first_offset: int
    next_offset: int
    broker_times: BrokerTimes
    positions: "array[int]"
    identities: bytes

    def identity(self, number: int) -> bytes:
        """Return the identity of `positions[number]`."""
        start = number * IDENTITY_BYTES
        return self.identities[start : start + IDENTITY_BYTES]


_FOLD_HEAD = Struct("<BBqqII")


def pack_fold(fold: Fold) -> bytes:
    """Return the `fold` header of a record of `usage.rated`."""
    head = _FOLD_HEAD.pack(
        FORMAT,
        _KIND_CODES[fold.kind],
        fold.first_offset,
        fold.next_offset,
        len(fold.broker_times),
        len(fold.positions),
    )
    times = array("q", [number for pair in fold.broker_times for number in pair])
    return b"".join((head, times.tobytes(), fold.positions.tobytes(), fold.identities))


def unpack_fold(header: bytes) -> Fold:
    """Read what `pack_fold` wrote. Raises ValueError."""
    if header:
        require_known("the fold header of a rated batch", header[0], FORMAT)
    if len(header) < _FOLD_HEAD.size:
        raise ValueError(f"fold header of {len(header)} bytes is cut")
    _, kind, first, following, n_times, n_positions = _FOLD_HEAD.unpack_from(header)
    at_positions = _FOLD_HEAD.size + n_times * 16
    at_identities = at_positions + n_positions * 8
    if len(header) != at_identities + n_positions * IDENTITY_BYTES:
        raise ValueError(f"fold header of {len(header)} bytes is cut or too long")
    times, positions = array("q"), array("q")
    times.frombytes(header[_FOLD_HEAD.size : at_positions])
    positions.frombytes(header[at_positions:at_identities])
    return Fold(
        kind=_KIND_OF_CODE[kind],
        first_offset=first,
        next_offset=following,
        broker_times=list(zip(times[::2], times[1::2], strict=True)),
        positions=positions,
        identities=header[at_identities:],
    )


FOLD_HEADER = "fold"
TOTALS_HEADER = "totals"

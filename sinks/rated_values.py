"""The value of a record of `usage.rated` as the sink's hot path reads it: structs, soon dropped.

A dictionary per entry and one per event, kept until thousands of them are committed, cost more to
make and to drop than everything that is read out of them. So charged events are decoded into
structs that live until their rows are built; who needs more of one later, and few do, has it read
again from the record's bytes.
"""

from typing import Any, cast

from msgspec import DecodeError, Raw, Struct
from msgspec.json import Decoder

from schemas.formats import require_known
from schemas.rated import FORMAT_WITH_CORRECTIONS, BrokerTimes, ChargedEntry, Kind, decode_batch


class Event(Struct, gc=False):
    """A charged event's own fields; `metadata` is the JSON as it stands, empty where absent."""

    event_id: str
    customer_id: str
    event_type: str
    feature_id: str
    timestamp: str
    user_id: str | None = None
    team_id: str | None = None
    provider: str | None = None
    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    image_count: int | None = None
    image_size: str | None = None
    quality: str | None = None
    duration_seconds: int | float | None = None
    resolution: str | None = None
    unit_type: str | None = None
    quantity: int | float | None = None
    metadata: Raw = Raw(b"")
    idempotency_key: str | None = None


class Voids(Struct, gc=False):
    """As `schemas.corrections.Void`."""

    customer_id: str
    event_id: str
    reason: str
    requested_by: str | None = None


class Charged(Struct, gc=False, tag_field="verdict", tag="charged"):
    """As `schemas.rated.ChargedEntry`."""

    offset: int
    index: int
    event: Event
    credits: int
    cost_usd: str
    price_ids: tuple[str, ...]
    replay_of: str | None = None
    voids: Voids | None = None


class Duplicate(Struct, omit_defaults=True, tag_field="verdict", tag="duplicate"):
    """As `schemas.rated.DuplicateEntry`."""

    offset: int
    index: int
    event: dict[str, Any]
    of_offset: int
    of_index: int
    replay_of: str | None = None


class Letter(Struct, omit_defaults=True, tag_field="verdict", tag="dead-letter"):
    """As `schemas.rated.DeadLetterEntry`."""

    offset: int
    index: int
    reason: str
    message: str
    customer_id: str | None
    event_id: str | None
    idempotency_key: str | None
    provider: str | None
    model: str | None
    payload: str
    key: str | None
    replay_of: str | None = None


class RatedValue(Struct, gc=False):
    """As `schemas.rated.RatedBatch`, without the totals."""

    format: int
    kind: Kind
    partition: int
    first_offset: int
    next_offset: int
    price_revision: int
    broker_times: list[tuple[int, int]]
    events: list[Charged | Duplicate | Letter]
    reason: str | None = None
    decided_by: str | None = None


class Batch(Struct, frozen=True):
    """What is kept of a record beside its entries."""

    kind: Kind
    partition: int
    first_offset: int
    next_offset: int
    price_revision: int
    broker_times: BrokerTimes
    has_corrections: bool
    max_broker_time: int  #: epoch milliseconds; 0: no records
    reason: str | None
    decided_by: str | None


class Entries:
    """A record's charged entries as `decode_batch` gives them, decoded once one is asked for."""

    __slots__ = ("_charged", "_value")

    def __init__(self, value: bytes) -> None:
        self._value = value
        self._charged: dict[tuple[int, int], ChargedEntry] = {}

    def charged(self, offset: int, index: int) -> ChargedEntry:
        """Return the entry that stands there."""
        if not self._charged:
            self._charged = {
                (entry["offset"], entry["index"]): cast("ChargedEntry", entry)
                for entry in decode_batch(self._value).events
            }
        return self._charged[offset, index]


_decode = Decoder(RatedValue).decode


def read_value(value: bytes) -> RatedValue:
    """Read what `encode_batch` wrote. Raises ValueError on what another release wrote."""
    try:
        found = _decode(value)
    except DecodeError:
        for entry in decode_batch(value).events:  # Raises where it cannot be read at all.
            if entry["verdict"] not in {"charged", "duplicate", "dead-letter"}:
                raise ValueError(f"the unknown verdict {entry['verdict']!r}") from None
        raise
    require_known("a rated batch", found.format, FORMAT_WITH_CORRECTIONS)
    return found


def batch_of(value: RatedValue) -> Batch:
    """Return what is kept of a record."""
    return Batch(
        value.kind,
        value.partition,
        value.first_offset,
        value.next_offset,
        value.price_revision,
        value.broker_times,
        value.format >= FORMAT_WITH_CORRECTIONS,
        max((ms for _, ms in value.broker_times), default=0),
        value.reason,
        value.decided_by,
    )

"""Charged events with their rows of UsageEvent as binary COPY reads them, hundreds at once.

Fields that come again and again together are kept together: whose it was, and what.
"""

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import repeat
from struct import error as struct_error

from msgspec import Struct
from psycopg import adapters
from psycopg.adapt import PyFormat

from schemas.rated import ChargedEntry
from sinks.binary_columns import FixedFields, int64s, numerics, timestamps, uuids
from sinks.copy_rows import (
    NULL,
    USAGE_EVENT_COLUMNS,
    RowRefusedError,
    field,
    int8_field,
    text_array,
    text_fields,
)
from sinks.rated_values import Charged, Entries, Event, Voids

_HEAD = FixedFields(
    len(USAGE_EVENT_COLUMNS),
    id="V16",
    input_tokens=">i8",
    output_tokens=">i8",
    credits_burned=">i8",
    timestamp=">i8",
    source_partition=">i4",
    source_offset=">i8",
    source_index=">i4",
)
EVENT_ID = slice(6, 22)  # in a row: behind the count of fields and its own length
_dump_decimal = adapters.get_dumper(Decimal, PyFormat.BINARY)(Decimal).dump
_EMPTY_OBJECT = field(b"\x01{}")
_NO_AMOUNTS = b"".join((_EMPTY_OBJECT, NULL, NULL, NULL))


class Payer(Struct, frozen=True, eq=False, gc=False):
    """Whose usage it is; as a rule one object for all events of a payer.

    `fields`: of a row, from `customer_id` to `user_id`.
    """

    customer_id: str
    user_id: str | None
    team_id: str | None
    fields: bytes


class Charge(Struct, gc=False):
    """A charged event with its UsageEvent row, built before the transaction begins.

    `row`: but for its last field; `epoch_field` is to follow. `refusal`: why Postgres cannot hold
    it; then there is no row. What every transaction needs of an event stands here, taken while it
    was at hand; the rest is read again by whoever wants it.
    """

    entries: Entries
    offset: int
    index: int
    row: bytes
    refusal: str | None
    payer: Payer
    key: str | None
    credits: int
    replay_of: str | None
    voids: Voids | None

    @property
    def customer_id(self) -> str:
        """Whose event it is."""
        return self.payer.customer_id

    @property
    def event_id(self) -> bytes:
        """The id as 16 bytes; only of what has a row."""
        return self.row[EVENT_ID]

    @property
    def entry(self) -> ChargedEntry:
        """All that the streams wrote of it."""
        return self.entries.charged(self.offset, self.index)


def build_charges(
    partitions: Sequence[int], entries: Sequence[Entries], charged: Sequence[Charged]
) -> list[Charge]:
    """Return the charge of each entry; `partitions`, `entries`: of the records they stand in."""
    try:
        return _build(partitions, entries, charged)
    except (struct_error, OverflowError, UnicodeEncodeError, RowRefusedError) as error:
        if len(charged) == 1:
            return [_refused(entries[0], charged[0], str(error))]
    return [
        charge
        for partition, of, one in zip(partitions, entries, charged, strict=True)
        for charge in build_charges([partition], [of], [one])
    ]


def _build(
    partitions: Sequence[int], entries: Sequence[Entries], charged: Sequence[Charged]
) -> list[Charge]:
    events = [one.event for one in charged]
    offsets, indexes = [one.offset for one in charged], [one.index for one in charged]
    credits_ = [one.credits for one in charged]
    payers = [_payer(event.customer_id, event.user_id, event.team_id) for event in events]
    heads = _HEAD.rows(
        len(charged),
        id=uuids([event.event_id for event in events]),
        input_tokens=int64s([event.input_tokens for event in events]),
        output_tokens=int64s([event.output_tokens for event in events]),
        credits_burned=int64s(credits_),
        timestamp=timestamps([event.timestamp for event in events]),
        source_partition=int64s(partitions),
        source_offset=int64s(offsets),
        source_index=int64s(indexes),
    )
    costs = numerics([one.cost_usd for one in charged])
    keys = [event.idempotency_key for event in events]
    key_fields = text_fields(keys)
    rows = [
        b"".join(
            (
                head,
                cost,
                payer.fields,
                _what(
                    one.price_ids,
                    event.event_type,
                    event.feature_id,
                    event.provider,
                    event.model,
                    event.image_size,
                    event.quality,
                    event.resolution,
                    event.unit_type,
                ),
                _amounts(event),
                key,
            )
        )
        for head, cost, payer, one, event, key in zip(
            heads, costs, payers, charged, events, key_fields, strict=True
        )
    ]
    replays, voids = [one.replay_of for one in charged], [one.voids for one in charged]
    refusals = repeat(None)
    columns = entries, offsets, indexes, rows, refusals, payers, keys, credits_, replays, voids
    return list(map(Charge, *columns))


def _refused(entries: Entries, charged: Charged, refusal: str) -> Charge:
    event = charged.event
    return Charge(
        entries,
        charged.offset,
        charged.index,
        b"",
        refusal,
        Payer(event.customer_id, event.user_id, event.team_id, b""),
        event.idempotency_key,
        charged.credits,
        charged.replay_of,
        charged.voids,
    )


@lru_cache(maxsize=16_384)
def _payer(customer_id: str, user_id: str | None, team_id: str | None) -> Payer:
    fields = text_fields((customer_id, team_id, user_id))
    return Payer(customer_id, user_id, team_id, b"".join(fields))


@lru_cache(maxsize=16_384)
def _what(price_ids: Sequence[str], *texts: str | None) -> bytes:
    """Return the texts from `event_type` to `unit_type`, and `price_ids`."""
    return b"".join(text_fields(texts)) + field(text_array(price_ids))


def _amounts(event: Event) -> bytes:
    """Return the fields from `metadata` to `quantity`, of which most events have none."""
    metadata, images = event.metadata, event.image_count
    duration, quantity = event.duration_seconds, event.quantity
    if not (metadata or images or duration or quantity):
        return _NO_AMOUNTS
    return b"".join(
        (
            field(b"\x01" + bytes(metadata)) if metadata else _EMPTY_OBJECT,
            NULL if images is None else int8_field(images),
            NULL if duration is None else _number(duration),
            NULL if quantity is None else _number(quantity),
        )
    )


def _number(value: float) -> bytes:
    """Encode a JSON number as the decimal it was written as (its shortest, for a double)."""
    return _numeric_text(repr(value))


@lru_cache(maxsize=8_192)
def _numeric_text(text: str) -> bytes:
    return field(bytes(_dump_decimal(Decimal(text)) or b""))

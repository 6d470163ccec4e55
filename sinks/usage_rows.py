"""Rows of UsageEvent as binary COPY reads them, hundreds at once.

Fields that come again and again together are kept together: whose it was, and what.
"""

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from struct import error as struct_error

from psycopg import adapters
from psycopg.adapt import PyFormat

from sinks.binary_columns import FixedFields, int64s, numerics, timestamps, uuids
from sinks.copy_rows import (
    NULL,
    USAGE_EVENT_COLUMNS,
    RowRefusedError,
    field,
    int8_field,
    repeated_text_field,
    text_array,
    text_field,
)
from sinks.rated_values import Charged, Event

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
EVENT_ID = slice(6, 22)  # where the id stands in a row, behind the count of fields and its length
_dump_decimal = adapters.get_dumper(Decimal, PyFormat.BINARY)(Decimal).dump
_EMPTY_OBJECT = field(b"\x01{}")
_NOTHING_ELSE = b"".join((NULL, _EMPTY_OBJECT, NULL, NULL, NULL))


def usage_event_rows(partitions: Sequence[int], entries: Sequence[Charged]) -> list[bytes]:
    """Return the row of each charged event without its last field; `epoch_field` is to follow.

    Raises RowRefusedError when Postgres cannot hold a value of any of them; most such are refused
    much earlier.
    """
    try:
        return [
            _row(head, cost, entry)
            for head, cost, entry in zip(
                _heads(partitions, entries),
                numerics([entry.cost_usd for entry in entries]),
                entries,
                strict=True,
            )
        ]
    except (struct_error, OverflowError, UnicodeEncodeError) as error:
        raise RowRefusedError(str(error)) from None


def _heads(partitions: Sequence[int], entries: Sequence[Charged]) -> list[bytes]:
    events = [entry.event for entry in entries]
    return _HEAD.rows(
        len(entries),
        id=uuids([event.event_id for event in events]),
        input_tokens=int64s([event.input_tokens for event in events]),
        output_tokens=int64s([event.output_tokens for event in events]),
        credits_burned=int64s([entry.credits for entry in entries]),
        timestamp=timestamps([event.timestamp for event in events]),
        source_partition=int64s(partitions),
        source_offset=int64s([entry.offset for entry in entries]),
        source_index=int64s([entry.index for entry in entries]),
    )


def _row(head: bytes, cost: bytes, entry: Charged) -> bytes:
    event = entry.event
    key = event.idempotency_key
    return b"".join(
        (
            head,
            cost,
            _whose(event.customer_id, event.team_id),
            _what(
                entry.price_ids,
                event.event_type,
                event.feature_id,
                event.provider,
                event.model,
                event.image_size,
                event.quality,
                event.resolution,
                event.unit_type,
            ),
            _else(event),
            NULL if key is None else text_field(key),
        )
    )


@lru_cache(maxsize=16_384)
def _whose(customer_id: str, team_id: str | None) -> bytes:
    return text_field(customer_id) + _optional_text(team_id)


@lru_cache(maxsize=16_384)
def _what(price_ids: Sequence[str], *texts: str | None) -> bytes:
    """Return the texts from `event_type` to `unit_type`, and `price_ids`."""
    return b"".join(map(_optional_text, texts)) + field(text_array(price_ids))


def _else(event: Event) -> bytes:
    """Return the fields from `user_id` to `quantity`, of which most events have none."""
    user_id, metadata, images = event.user_id, event.metadata, event.image_count
    duration, quantity = event.duration_seconds, event.quantity
    if not (metadata or user_id is not None or images or duration or quantity):
        return _NOTHING_ELSE
    return b"".join(
        (
            NULL if user_id is None else repeated_text_field(user_id),
            field(b"\x01" + bytes(metadata)) if metadata else _EMPTY_OBJECT,
            NULL if images is None else int8_field(images),
            NULL if duration is None else _number(duration),
            NULL if quantity is None else _number(quantity),
        )
    )


def _optional_text(value: str | None) -> bytes:
    return NULL if value is None else text_field(value)


def _number(value: float) -> bytes:
    """Encode a JSON number as the decimal it was written as (its shortest, for a double)."""
    return _numeric_text(repr(value))


@lru_cache(maxsize=8_192)
def _numeric_text(text: str) -> bytes:
    return field(bytes(_dump_decimal(Decimal(text)) or b""))

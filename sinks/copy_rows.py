"""Rows as Postgres reads them by binary COPY: columns, and their bytes built without dispatch.

Layout of a row: a 16-bit count of fields, then each field as a 32-bit length and its bytes; length
-1 is NULL. The columns stand so that those of fixed size are packed in one go.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from struct import Struct
from struct import error as struct_error
from typing import Any, NamedTuple

import orjson
from psycopg import adapters
from psycopg.adapt import PyFormat

from schemas.events import UsageEvent
from schemas.rated import ChargedEntry
from schemas.timestamps import parse_timestamp

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

_NULL = b"\xff\xff\xff\xff"
_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TEXT_OID = 25
_length = Struct("!i").pack
_int4 = Struct("!ii").pack
_int8 = Struct("!iq").pack
_array_head = Struct("!iiiii").pack
_dump_decimal = adapters.get_dumper(Decimal, PyFormat.BINARY)(Decimal).dump


class RowRefusedError(ValueError):
    """Postgres cannot hold a value of the row."""


def microseconds(moment: datetime) -> int:
    """Return a moment as Postgres counts it: microseconds since 2000-01-01 UTC."""
    return (moment - _POSTGRES_EPOCH) // _MICROSECOND


@lru_cache(maxsize=8_192)
def _event_time(text: str) -> int:
    return microseconds(parse_timestamp(text))


def _text(value: str) -> bytes:
    data = value.encode()
    if b"\0" in data:
        raise RowRefusedError("text must not hold the character U+0000")
    return _length(len(data)) + data


# Customers, models, features and sizes come again and again.
_repeated_text = lru_cache(maxsize=16_384)(_text)


def _optional_text(value: str | None) -> bytes:
    return _NULL if value is None else _repeated_text(value)


def _field(data: Any) -> bytes:
    return _length(len(data)) + bytes(data)


@lru_cache(maxsize=8_192)
def _numeric_text(text: str) -> bytes:
    return _field(_dump_decimal(Decimal(text)))


def _number(value: float | None) -> bytes:
    """Encode a JSON number as the decimal it was written as (its shortest, for a double)."""
    return _NULL if value is None else _numeric_text(repr(value))


@lru_cache(maxsize=8_192)
def _text_array(values: tuple[str, ...]) -> bytes:
    if not values:
        return _field(Struct("!iii").pack(0, 0, _TEXT_OID))
    return _field(
        _array_head(1, 0, _TEXT_OID, len(values), 1) + b"".join(_text(value) for value in values)
    )


def _jsonb(value: dict[str, Any]) -> bytes:
    return _field(b"\x01" + orjson.dumps(value))


_EMPTY_OBJECT = _jsonb({})

# The epoch is not known before the transaction holds its SinkOffset row: it stands last and is
# appended there.
USAGE_EVENT_COLUMNS = (
    "id",
    "input_tokens",
    "output_tokens",
    "credits_burned",
    "timestamp",
    "source_partition",
    "source_offset",
    "source_index",
    "customer_id",
    "event_type",
    "feature_id",
    "cost_usd",
    "price_ids",
    "metadata",
    "user_id",
    "team_id",
    "provider",
    "model",
    "image_count",
    "image_size",
    "quality",
    "duration_seconds",
    "resolution",
    "unit_type",
    "quantity",
    "idempotency_key",
    "source_epoch",
)
_usage_head = Struct("!hi16siqiqiqiqiiiqii").pack


def _copy_statement(table: str, columns: Sequence[str]) -> bytes:
    names = ", ".join(f'"{column}"' for column in columns)
    return f'COPY "{table}" ({names}) FROM STDIN (FORMAT BINARY)'.encode()


COPY_USAGE_EVENTS = _copy_statement("UsageEvent", USAGE_EVENT_COLUMNS)


def usage_event_row(partition: int, entry: ChargedEntry) -> bytes:
    """Return the row of a charged event without its last field; `epoch_field` is to follow.

    Raises RowRefusedError when Postgres cannot hold a value; most such are refused much earlier.
    """
    event = entry["event"]
    try:
        return _usage_event_row(partition, entry, event)
    except (struct_error, OverflowError, UnicodeEncodeError, RowRefusedError) as error:
        raise RowRefusedError(str(error)) from None


def _usage_event_row(partition: int, entry: ChargedEntry, event: UsageEvent) -> bytes:
    get = event.get
    image_count: Any = get("image_count")
    key: Any = get("idempotency_key")
    metadata: Any = get("metadata")
    return b"".join(
        (
            _usage_head(
                len(USAGE_EVENT_COLUMNS),
                16,
                bytes.fromhex(event["event_id"].replace("-", "")),
                8,
                get("input_tokens", 0),
                8,
                get("output_tokens", 0),
                8,
                entry["credits"],
                8,
                _event_time(event["timestamp"]),
                4,
                partition,
                8,
                entry["offset"],
                4,
                entry["index"],
            ),
            _repeated_text(event["customer_id"]),
            _repeated_text(event["event_type"]),
            _repeated_text(event["feature_id"]),
            _numeric_text(entry["cost_usd"]),
            _text_array(tuple(entry["price_ids"])),
            _jsonb(metadata) if metadata else _EMPTY_OBJECT,
            _optional_text(get("user_id")),  # type: ignore[arg-type]
            _optional_text(get("team_id")),  # type: ignore[arg-type]
            _optional_text(get("provider")),  # type: ignore[arg-type]
            _optional_text(get("model")),  # type: ignore[arg-type]
            _NULL if image_count is None else _int8(8, image_count),
            _optional_text(get("image_size")),  # type: ignore[arg-type]
            _optional_text(get("quality")),  # type: ignore[arg-type]
            _number(get("duration_seconds")),  # type: ignore[arg-type]
            _optional_text(get("resolution")),  # type: ignore[arg-type]
            _optional_text(get("unit_type")),  # type: ignore[arg-type]
            _number(get("quantity")),  # type: ignore[arg-type]
            _NULL if key is None else _text(key),
        )
    )


@lru_cache(maxsize=1_024)
def epoch_field(epoch: int) -> bytes:
    """Return the last field of a UsageEvent row."""
    return _int4(4, epoch)


class BurnRow(NamedTuple):
    """One debit of a wallet, as the ledger keeps it. Times in microseconds since 2000."""

    wallet_id: str
    customer_id: str
    usage_event_id: str
    credits: int
    balance_before: int
    wallet_seq: int
    created_at: int


CREDIT_TRANSACTION_COLUMNS = (
    "id",
    "usage_event_id",
    "amount",
    "balance_before",
    "balance_after",
    "wallet_seq",
    "created_at",
    "wallet_id",
    "customer_id",
    "transaction_type",
    "description",
)
COPY_CREDIT_TRANSACTIONS = _copy_statement("CreditTransaction", CREDIT_TRANSACTION_COLUMNS)
_ID_LENGTH = len("txn-") + 36
_burn_head = Struct(f"!hi{_ID_LENGTH}si16siqiqiqiqiq").pack
BURN_DESCRIPTION = "AI usage credit burn"
_BURN_TAIL = _text("BURN") + _text(BURN_DESCRIPTION)


def burn_rows(burns: Iterable[BurnRow], milliseconds: int, randomness: bytes) -> list[bytes]:
    """Return rows of CreditTransaction, each with an id of 'txn-' and a UUID of version 7.

    `milliseconds` since 1970 lead the ids, so that the index grows at its end; `randomness` is 10
    bytes a burn.
    """
    digits = randomness.hex()
    stamp = f"{milliseconds:012x}"
    prefix = f"txn-{stamp[:8]}-{stamp[8:]}-7"
    rows = []
    for number, burn in enumerate(burns):
        own = digits[20 * number : 20 * number + 20]
        rows.append(
            _burn_head(
                len(CREDIT_TRANSACTION_COLUMNS),
                _ID_LENGTH,
                f"{prefix}{own[:3]}-a{own[3:6]}-{own[6:18]}".encode(),
                16,
                bytes.fromhex(burn.usage_event_id.replace("-", "")),
                8,
                -burn.credits,
                8,
                burn.balance_before,
                8,
                burn.balance_before - burn.credits,
                8,
                burn.wallet_seq,
                8,
                burn.created_at,
            )
            + _repeated_text(burn.wallet_id)
            + _repeated_text(burn.customer_id)
            + _BURN_TAIL
        )
    return rows


# Rows that are few are written through psycopg's own types: (column, type) in the order of COPY.
DEAD_LETTER_TYPES = {
    "partition": "int4",
    "epoch": "int4",
    "offset": "int8",
    "index": "int4",
    "customer_id": "text",
    "event_id": "text",
    "idempotency_key": "text",
    "provider": "text",
    "model": "text",
    "reason": "text",
    "message": "text",
    "payload": "bytea",
    "record_key": "bytea",
    "replay_of": "text",
    "found_by": "text",
}
DUPLICATE_EVENT_TYPES = {
    "partition": "int4",
    "epoch": "int4",
    "offset": "int8",
    "index": "int4",
    "customer_id": "text",
    "event_id": "uuid",
    "idempotency_key": "text",
    "of_partition": "int4",
    "of_offset": "int8",
    "of_index": "int4",
    "found_by": "text",
    "replay_of": "text",
}
RATED_BATCH_TYPES = {
    "topic": "text",
    "partition": "int4",
    "epoch": "int4",
    "first_offset": "int8",
    "next_offset": "int8",
    "rated_offset": "int8",
    "kind": "text",
    "charged": "int4",
    "duplicates": "int4",
    "conflicts": "int4",
    "dead_letters": "int4",
    "refused": "int4",
    "price_revision": "int8",
    "reason": "text",
    "decided_by": "text",
}
COPY_DEAD_LETTERS = _copy_statement("DeadLetter", tuple(DEAD_LETTER_TYPES))
COPY_DUPLICATE_EVENTS = _copy_statement("DuplicateEvent", tuple(DUPLICATE_EVENT_TYPES))
COPY_RATED_BATCHES = _copy_statement("RatedBatch", tuple(RATED_BATCH_TYPES))

"""Rows as Postgres reads them by binary COPY: columns, and their bytes built without dispatch.

Layout of a row: a 16-bit count of fields, then each field as a 32-bit length and its bytes; length
-1 is NULL. The columns stand so that those of fixed size are packed in one go.
"""

from binascii import unhexlify
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from struct import Struct
from struct import error as struct_error
from typing import Any, NamedTuple

import orjson
from psycopg import adapters
from psycopg.adapt import PyFormat

from schemas.rated import ChargedEntry
from sinks.arrays import INT8_OID, TEXT_OID, UUID_OID, Array, array_of

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

_NULL = b"\xff\xff\xff\xff"
_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_length = Struct("!i").pack
_int4 = Struct("!ii").pack
_int8 = Struct("!iq").pack
_dump_decimal = adapters.get_dumper(Decimal, PyFormat.BINARY)(Decimal).dump


class RowRefusedError(ValueError):
    """Postgres cannot hold a value of the row."""


def microseconds(moment: datetime) -> int:
    """Return a moment as Postgres counts it: microseconds since 2000-01-01 UTC."""
    return (moment - _POSTGRES_EPOCH) // _MICROSECOND


@lru_cache(maxsize=8_192)
def _event_time(text: str) -> int:
    return microseconds(datetime.fromisoformat(text))  # of a valid event


def _uuid(text: str) -> bytes:
    return unhexlify(text.replace("-", ""))


def _text(value: str) -> bytes:
    data = value.encode()
    if b"\0" in data:
        raise RowRefusedError("text must not hold the character U+0000")
    return _length(len(data)) + data


# Customers, models, features and sizes come again and again.
_repeated_text = lru_cache(maxsize=16_384)(_text)


def _optional_text(value: str | None) -> bytes:
    return _NULL if value is None else _text(value)


def uuid_array(values: Iterable[str]) -> Array:
    """Return an array of uuid."""
    return array_of(UUID_OID, [_field(_uuid(value)) for value in values])


def bigint_array(values: Iterable[int]) -> Array:
    """Return an array of bigint."""
    return array_of(INT8_OID, [_int8(8, value) for value in values])


def _field(data: Any) -> bytes:
    return _length(len(data)) + bytes(data)


@lru_cache(maxsize=8_192)
def _numeric_text(text: str) -> bytes:
    return _field(_dump_decimal(Decimal(text)))


def _number(value: float) -> bytes:
    """Encode a JSON number as the decimal it was written as (its shortest, for a double)."""
    return _numeric_text(repr(value))


def text_array(values: Iterable[str | None]) -> Array:
    """Return an array of text; None is NULL. Raises RowRefusedError."""
    return array_of(
        TEXT_OID, [_NULL if value is None else _repeated_text(value) for value in values]
    )


def _jsonb(value: dict[str, Any]) -> bytes:
    return _field(b"\x01" + orjson.dumps(value))


_EMPTY_OBJECT = _jsonb({})

# Fields that come again and again together stand together, and are kept together: whose, then what.
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
    "team_id",
    "event_type",
    "feature_id",
    "provider",
    "model",
    "image_size",
    "quality",
    "resolution",
    "unit_type",
    "price_ids",
    "user_id",
    "cost_usd",
    "metadata",
    "image_count",
    "duration_seconds",
    "quantity",
    "idempotency_key",
    "source_epoch",
)
_WHAT_TEXTS = USAGE_EVENT_COLUMNS.index("price_ids") - USAGE_EVENT_COLUMNS.index("event_type")
_USAGE_EVENT_FIELDS = len(USAGE_EVENT_COLUMNS)
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
    get: Any = event.get
    user_id, metadata, key = get("user_id"), get("metadata"), get("idempotency_key")
    images, duration, quantity = get("image_count"), get("duration_seconds"), get("quantity")
    try:
        return b"".join(
            (
                _usage_head(
                    _USAGE_EVENT_FIELDS,
                    16,
                    _uuid(event["event_id"]),
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
                _whose(event["customer_id"], get("team_id")),
                _what(
                    event["event_type"],
                    event["feature_id"],
                    get("provider"),
                    get("model"),
                    get("image_size"),
                    get("quality"),
                    get("resolution"),
                    get("unit_type"),
                    *entry["price_ids"],
                ),
                _NULL if user_id is None else _repeated_text(user_id),
                _numeric_text(entry["cost_usd"]),
                _jsonb(metadata) if metadata else _EMPTY_OBJECT,
                _NULL if images is None else _int8(8, images),
                _NULL if duration is None else _number(duration),
                _NULL if quantity is None else _number(quantity),
                _NULL if key is None else _text(key),
            )
        )
    except (struct_error, OverflowError, UnicodeEncodeError, RowRefusedError) as error:
        raise RowRefusedError(str(error)) from None


@lru_cache(maxsize=16_384)
def _whose(customer_id: str, team_id: str | None) -> bytes:
    return _text(customer_id) + _optional_text(team_id)


@lru_cache(maxsize=16_384)
def _what(*values: str | None) -> bytes:
    """Return the texts from `event_type` to `unit_type`, and the rest as `price_ids`."""
    texts, price_ids = values[:_WHAT_TEXTS], values[_WHAT_TEXTS:]
    return b"".join(map(_optional_text, texts)) + _field(text_array(price_ids))


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
_BURN_FIELDS = len(CREDIT_TRANSACTION_COLUMNS)
_ID_LENGTH = len("txn-") + 36
_burn_head = Struct(f"!hi{_ID_LENGTH}si16siqiqiqiqiq").pack
BURN_DESCRIPTION = "AI usage credit burn"
BURN_RANDOMNESS_BYTES = 9
_COUNT_START_MAX = (1 << 47) - 1  # room to count on within 48 bits
_BURN_TAIL = _text("BURN") + _text(BURN_DESCRIPTION)


@lru_cache(maxsize=16_384)
def _burn_tail(wallet_id: str, customer_id: str) -> bytes:
    return _text(wallet_id) + _text(customer_id) + _BURN_TAIL


def burn_rows(burns: Iterable[BurnRow], milliseconds: int, randomness: bytes) -> Iterator[bytes]:
    """Return rows of CreditTransaction, each with an id of 'txn-' and a UUID of version 7.

    `milliseconds` since 1970 lead the ids; with BURN_RANDOMNESS_BYTES of `randomness` their rest
    begins, and its last 48 bits count on: the index grows at its very end.
    """
    digits = randomness.hex()
    stamp = f"{milliseconds:012x}"
    prefix = f"txn-{stamp[:8]}-{stamp[8:]}-7{digits[:3]}-a{digits[3:6]}-".encode()
    first = int(digits[6:], 16) & _COUNT_START_MAX
    for number, burn in enumerate(burns, start=first):
        wallet_id, customer_id, event_id, credits_, before, wallet_seq, created_at = burn
        yield (
            _burn_head(
                _BURN_FIELDS,
                _ID_LENGTH,
                b"%b%012x" % (prefix, number),
                16,
                _uuid(event_id),
                8,
                -credits_,
                8,
                before,
                8,
                before - credits_,
                8,
                wallet_seq,
                8,
                created_at,
            )
            + _burn_tail(wallet_id, customer_id)
        )


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

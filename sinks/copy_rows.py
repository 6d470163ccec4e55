"""What binary COPY writes: tables, their columns in the order of a row's fields, and single fields.

Layout of a row: a 16-bit count of fields, then each field as a 32-bit length and its bytes; length
-1 is NULL. The columns stand so that those of fixed size are laid out in one go
(`sinks.binary_columns`).
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct

from sinks.arrays import INT8_OID, TEXT_OID, UUID_OID, Array, array_of

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

NULL = b"\xff\xff\xff\xff"
_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_length = Struct("!i").pack
_int4 = Struct("!ii").pack
_int8 = Struct("!iq").pack


class RowRefusedError(ValueError):
    """Postgres cannot hold a value of the row."""


def microseconds(moment: datetime) -> int:
    """Return a moment as Postgres counts it: microseconds since 2000-01-01 UTC."""
    return (moment - _POSTGRES_EPOCH) // _MICROSECOND


def moment(microseconds_: int) -> datetime:
    """Return the moment that Postgres counts so."""
    return _POSTGRES_EPOCH + microseconds_ * _MICROSECOND


def field(data: bytes) -> bytes:
    """Return a field of any type that is its bytes."""
    return _length(len(data)) + data


def text_fields(values: Sequence[str | None]) -> list[bytes]:
    """Return fields of text; None is NULL. Raises RowRefusedError, UnicodeEncodeError."""
    if "\0" in "".join([value for value in values if value]):
        raise RowRefusedError("text must not hold the character U+0000")
    return [
        NULL if value is None else _length(len(data := value.encode())) + data for value in values
    ]


@lru_cache(maxsize=16_384)  # customers, wallets, prices come again and again
def text_field(value: str) -> bytes:
    """Return a field of text. Raises as `text_fields` does."""
    return text_fields([value])[0]


def int8_field(value: int) -> bytes:
    """Return a field of bigint. Raises struct.error."""
    return _int8(8, value)


@lru_cache(maxsize=1_024)
def epoch_field(epoch: int) -> bytes:
    """Return the last field of a UsageEvent row."""
    return _int4(4, epoch)


def uuid_array(values: Iterable[bytes]) -> Array:
    """Return an array of uuid, given as 16 bytes each."""
    return array_of(UUID_OID, [field(value) for value in values])


def bigint_array(values: Iterable[int]) -> Array:
    """Return an array of bigint."""
    return array_of(INT8_OID, [_int8(8, value) for value in values])


def text_array(values: Iterable[str | None]) -> Array:
    """Return an array of text; None is NULL. Raises RowRefusedError."""
    return array_of(TEXT_OID, [NULL if value is None else text_field(value) for value in values])


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
    "cost_usd",
    "customer_id",
    "team_id",
    "user_id",
    "event_type",
    "feature_id",
    "provider",
    "model",
    "image_size",
    "quality",
    "resolution",
    "unit_type",
    "price_ids",
    "metadata",
    "image_count",
    "duration_seconds",
    "quantity",
    "idempotency_key",
    "source_epoch",
)


def _copy_statement(table: str, columns: Sequence[str]) -> bytes:
    names = ", ".join(f'"{column}"' for column in columns)
    return f'COPY "{table}" ({names}) FROM STDIN (FORMAT BINARY)'.encode()


COPY_USAGE_EVENTS = _copy_statement("UsageEvent", USAGE_EVENT_COLUMNS)

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

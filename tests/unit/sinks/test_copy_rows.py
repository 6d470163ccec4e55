"""Bytes of rows; that Postgres reads them as meant is tested in the integration ring."""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest

from schemas.rated import ChargedEntry
from sinks.binary_columns import int64s
from sinks.burn_rows import burn_rows
from sinks.charges import build_charges
from sinks.copy_rows import epoch_field, microseconds
from sinks.rated_values import Charged, Entries
from sinks.wallets import Account, burn
from tests.rated_batches import charged, event_id


def read(entry: ChargedEntry) -> Charged:
    return msgspec.json.decode(orjson.dumps(entry), type=Charged)


def usage_event_row(partition: int, entry: ChargedEntry) -> bytes:
    (charge,) = build_charges([partition], [Entries(b"")], [read(entry)])
    assert charge.refusal is None
    return charge.row


def burn_ids(count: int, milliseconds: int, randomness: bytes) -> list[bytes]:
    """Return the ids of as many debits' rows."""
    burns = burn([Account(100, 0, None)], int64s([0] * count), int64s([5] * count), 0)
    events = np.frombuffer(bytes(16 * count), "V16")
    pieces = burn_rows(burns, events, [b""], milliseconds, randomness)
    return re.findall(rb"txn-[0-9a-f-]{36}", b"".join(pieces))


def test_microseconds_are_counted_as_postgres_does() -> None:
    """From the year 2000 on, and below it."""
    assert microseconds(datetime(2000, 1, 1, 0, 0, 1, tzinfo=UTC)) == 1_000_000
    assert microseconds(datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)) == -1_000_000


def test_a_row_does_not_depend_on_rows_before_it() -> None:
    """Fields are kept for repeated use: the same event gives the same bytes."""
    one = charged(3, 1, event_id=event_id(1), quantity=0.1, metadata={"a": 1})
    first = usage_event_row(2, one)
    usage_event_row(2, charged(4, user_id="u", image_count=3))
    assert usage_event_row(2, one) == first
    assert epoch_field(2) == b"\0\0\0\x04\0\0\0\x02"


@pytest.mark.parametrize(
    "bad",
    [
        {"user_id": "a\0b"},
        {"idempotency_key": "\0"},
        {"input_tokens": 2**63},
        {"model": "\ud800"},
    ],
)
def test_what_postgres_cannot_hold_is_refused(bad: dict[str, Any]) -> None:
    """U+0000, integers beyond 64 bits, lone surrogates: refused by name, not crashed upon."""
    entry = read(charged(0))
    for name, value in bad.items():
        setattr(entry.event, name, value)
    refused, fit = build_charges([0, 0], [Entries(b"")] * 2, [entry, read(charged(1))])
    assert (refused.row, refused.offset, fit.offset) == (b"", 0, 1)
    assert refused.refusal
    assert fit.row
    assert fit.refusal is None


def test_a_bug_is_no_refusal() -> None:
    """An event without its required fields did not come from our validation."""
    entry = charged(0)
    del entry["event"]["customer_id"]  # type: ignore[misc]
    with pytest.raises(msgspec.ValidationError, match="customer_id"):
        usage_event_row(0, entry)


def test_transaction_ids_are_uuids_that_rise_with_time() -> None:
    """`txn-` and a UUID of version 7: each above the last, the index grows at its end."""
    ids = burn_ids(2, 0x0123456789AB, bytes(range(9)))
    assert ids == [
        b"txn-01234567-89ab-7000-a102-030405060708",
        b"txn-01234567-89ab-7000-a102-030405060709",
    ]
    (later,) = burn_ids(1, 0x0123456789AC, bytes(9))
    assert later > ids[1]


def test_transaction_ids_never_outgrow_their_digits() -> None:
    """The highest start has room to count on from."""
    assert burn_ids(2, 0, b"\xff" * 9) == [
        b"txn-00000000-0000-7fff-afff-7fffffffffff",
        b"txn-00000000-0000-7fff-afff-800000000000",
    ]

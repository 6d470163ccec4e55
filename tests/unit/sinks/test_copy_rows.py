"""Bytes of rows; that Postgres reads them as meant is tested in the integration ring."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from sinks.copy_rows import (
    BurnRow,
    RowRefusedError,
    burn_rows,
    epoch_field,
    microseconds,
    usage_event_row,
)
from tests.rated_batches import charged, event_id


def burn_row(number: int) -> BurnRow:
    return BurnRow("w", "c", event_id(number), 5, 100, number, 0)


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
    with pytest.raises(RowRefusedError):
        usage_event_row(0, charged(0, **bad))


def test_a_bug_is_no_refusal() -> None:
    """An event without its required fields did not come from our validation."""
    entry = charged(0)
    del entry["event"]["customer_id"]  # type: ignore[misc]
    with pytest.raises(KeyError):
        usage_event_row(0, entry)


def test_transaction_ids_are_uuids_that_rise_with_time() -> None:
    """`txn-` and a UUID of version 7: each above the last, the index grows at its end."""
    rows = burn_rows([burn_row(1), burn_row(2)], 0x0123456789AB, bytes(range(9)))
    ids = [re.findall(rb"txn-[0-9a-f-]{36}", row)[0] for row in rows]
    assert ids == [
        b"txn-01234567-89ab-7000-a102-030405060708",
        b"txn-01234567-89ab-7000-a102-030405060709",
    ]
    (later,) = burn_rows([burn_row(3)], 0x0123456789AC, bytes(9))
    assert re.findall(rb"txn-[0-9a-f-]{36}", later)[0] > ids[1]


def test_transaction_ids_never_outgrow_their_digits() -> None:
    """The highest start has room to count on from."""
    rows = burn_rows([burn_row(1), burn_row(2)], 0, b"\xff" * 9)
    ids = [re.findall(rb"txn-[0-9a-f-]{36}", row)[0] for row in rows]
    assert ids == [
        b"txn-00000000-0000-7fff-afff-7fffffffffff",
        b"txn-00000000-0000-7fff-afff-800000000000",
    ]

"""What a list or an invoice says, and why it differs from the ledger."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest

from gateway.file_import.columns import Columns, MappingError
from gateway.file_import.fates import Outcome, outcome_of
from gateway.file_import.rows import Row
from gateway.reconcile.differences import (
    AMOUNTS_DIFFER,
    LineDifference,
    difference_of,
    line_difference,
)
from gateway.reconcile.listed import (
    LIST_FIELDS,
    Invoiced,
    Listed,
    UnreadableRowError,
    read_invoiced,
    read_listed,
)

ID = UUID(int=7)
FATE: dict[str, Any] = {
    "row": 3,
    "customer_id": "c",
    "id": ID,
    "is_charged": False,
    "reason": None,
    "status": None,
    "is_duplicate": False,
    "original_id": None,
    "position": None,
    "listed_credits": None,
    "charged_credits": None,
    "listed_cost_usd": None,
    "charged_cost_usd": None,
}
CHARGED = {"is_charged": True, "charged_credits": 15, "charged_cost_usd": Decimal("0.0150")}


@pytest.mark.parametrize(
    ("is_charged", "status", "is_duplicate", "expected"),
    [
        (True, None, False, Outcome.CHARGED),
        (True, "OPEN", True, Outcome.CHARGED),
        (False, "OPEN", True, Outcome.DEAD_LETTER),
        (False, "DISCARDED", True, Outcome.DUPLICATE),
        (False, "DISCARDED", False, Outcome.CLOSED_LETTER),
        (False, "REPLAYED", False, Outcome.CLOSED_LETTER),
        (False, None, False, Outcome.ABSENT),
    ],
)
def test_an_event_has_one_outcome(
    is_charged: bool, status: str | None, is_duplicate: bool, expected: Outcome
) -> None:
    """Charged before all, a waiting letter before a duplicate, a closed letter after it."""
    assert (
        outcome_of(is_charged=is_charged, letter_status=status, is_duplicate=is_duplicate)
        is expected
    )


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        (CHARGED, None),
        (CHARGED | {"listed_credits": 15, "listed_cost_usd": Decimal("0.015")}, None),
        (CHARGED | {"listed_credits": 14}, AMOUNTS_DIFFER),
        (CHARGED | {"listed_cost_usd": Decimal("0.0151")}, AMOUNTS_DIFFER),
        ({"reason": "UNPRICED", "status": "OPEN"}, "dead letter UNPRICED, open"),
        ({"reason": "UNPRICED", "status": "DISCARDED"}, "dead letter UNPRICED, discarded"),
        ({"is_duplicate": True, "reason": "UNPRICED", "status": "DISCARDED"}, "duplicate"),
        ({}, "never arrived"),
    ],
)
def test_a_difference_has_its_reason(found: dict[str, Any], cause: str | None) -> None:
    """Amounts are compared as numbers, and only those that the list has."""
    difference = difference_of(FATE | found)
    assert (difference and difference.cause) == cause


def test_a_duplicate_names_its_original() -> None:
    """The event that is charged instead, and where it stands."""
    difference = difference_of(
        FATE | {"is_duplicate": True, "original_id": UUID(int=9), "position": "0:4:1"}
    )
    assert difference is not None
    assert (difference.duplicate_of, difference.position) == (str(UUID(int=9)), "0:4:1")


def test_a_row_of_a_list_is_an_id_or_an_object() -> None:
    """The customer of a row goes before the option; times of any zone, amounts exact."""
    assert read_listed(Row(1, orjson.dumps(str(ID))), "c") == Listed("c", ID)
    full = {
        "event_id": str(ID).upper(),
        "customer_id": "own",
        "timestamp": "2026-11-02 01:00:00+01:00",
        "credits": "15",
        "cost_usd": "0.015",
    }
    assert read_listed(Row(1, orjson.dumps(full)), "c") == Listed(
        "own", ID, datetime(2026, 11, 2, tzinfo=UTC), 15, Decimal("0.015")
    )


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (b"{", "unexpected end"),
        (b"more cells than columns", "more cells"),
        (b"7", "neither"),
        (b'{"event_id": "x", "customer_id": "c"}', "is no UUID"),
        (b'{"event_id": "%s"}' % str(ID).encode(), "no customer_id"),
        (b'{"event_id": "%s", "customer_id": "c\\u0000"}' % str(ID).encode(), "is no name"),
        (b'{"event_id": "%s", "customer_id": "c", "credits": 1.5}' % str(ID).encode(), "whole"),
        (b'{"event_id": "%s", "customer_id": "c", "cost_usd": "x"}' % str(ID).encode(), "number"),
        (
            b'{"event_id": "%s", "customer_id": "c", "timestamp": "2026-11-02"}' % str(ID).encode(),
            "no time with a zone",
        ),
    ],
)
def test_a_row_that_cannot_be_read_says_why(row: bytes, why: str) -> None:
    """None is guessed at."""
    with pytest.raises(UnreadableRowError, match=why):
        read_listed(Row(1, row), None)


def test_a_line_of_an_invoice_is_a_sum() -> None:
    """What it does not name is of all; providers are known by their upper case."""
    row = Row(1, b'{"day": "2026-11-02T00:00:00Z", "provider": "openai", "cost_usd": "1.10"}')
    assert read_invoiced(row) == Invoiced(date(2026, 11, 2), "OPENAI", None, None, Decimal("1.10"))
    for wrong in (b'{"day": "2026-11-02"}', b'{"day": "yesterday", "cost_usd": 1}'):
        with pytest.raises(UnreadableRowError):
            read_invoiced(Row(1, wrong))


@pytest.mark.parametrize(
    ("invoiced", "charged", "per_cent"),
    [("1.10", "1", "10.00"), ("0", "1", "-100.00"), ("1", "0", None)],
)
def test_a_line_differs_by_dollars_and_per_cent(
    invoiced: str, charged: str, per_cent: str | None
) -> None:
    """Of what was charged; of nothing there is no per cent. Within the tolerance it agrees."""
    found = {
        "day": date(2026, 11, 2),
        "provider": None,
        "model": None,
        "customer_id": None,
        "invoiced_usd": Decimal(invoiced),
        "charged_usd": Decimal(charged),
    }
    line = line_difference(found, Decimal("0.09"))
    assert isinstance(line, LineDifference)
    assert line.difference_usd == Decimal(invoiced) - Decimal(charged)
    assert line.per_cent == (None if per_cent is None else Decimal(per_cent))
    assert line_difference(found, Decimal(1)) is None


def test_a_list_has_fields_of_its_own() -> None:
    """Amounts may be mapped in a list, and not in an import."""
    assert Columns({"credits": "burned"}, known=LIST_FIELDS).event_json({"burned": "15"}) == (
        b'{"credits":"15"}'
    )
    with pytest.raises(MappingError, match="is no field of these rows"):
        Columns({"model": "m"}, known=LIST_FIELDS)
    with pytest.raises(MappingError, match="is no field of an event"):
        Columns({"credits": "burned"})

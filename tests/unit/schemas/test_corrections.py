"""A void, or a replacement, as a record of the log."""

import json
from typing import Any

import orjson
import pytest

from schemas.corrections import (
    CORRECTION_HEADER,
    Correction,
    correction_of,
    encode_correction,
    event_of,
    letter_headers,
    read_correction,
    void_event_id,
)
from schemas.dead_letter import Position, replay_headers
from schemas.events import InvalidBatchError, NotJsonError, validate_each
from schemas.pricing import PriceBook, Rated, rate

VOIDED = "550e8400-e29b-41d4-a716-446655440001"
VOID = {"customer_id": "cust", "event_id": VOIDED, "reason": "sent twice under two ids"}
EVENT = {
    "event_id": "550e8400-e29b-41d4-a716-446655440002",
    "customer_id": "cust",
    "event_type": "TOKEN_USAGE",
    "feature_id": "f",
    "timestamp": "2025-01-17T14:30:00Z",
}


def read(**value: Any) -> Correction:
    return read_correction(json.dumps(value).encode())


def test_a_void_is_read_as_it_goes_on() -> None:
    """The id in lower case, as the ledger holds it; unknown keys gone."""
    found = read(void=VOID | {"event_id": VOIDED.upper(), "unknown": 1})

    assert found == Correction(VOID, None)  # type: ignore[arg-type]


def test_a_replacement_holds_an_event_like_any_other() -> None:
    """What every event goes through, its event goes through: an empty key is none."""
    found = read(void=VOID, event=EVENT | {"idempotency_key": ""})

    assert found.event == EVENT
    assert read_correction(encode_correction(found)) == found


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"event": EVENT}, ("void",)),
        ({"void": {**VOID, "event_id": "1"}}, ("void", "event_id")),
        ({"void": {**VOID, "reason": ""}}, ("void", "reason")),
        ({"void": VOID, "event": {**EVENT, "feature_id": 5}}, ("event", "feature_id")),
        ({"void": VOID, "event": {**EVENT, "customer_id": "c2"}}, ("event", "customer_id")),
        ({"void": VOID, "event": {**EVENT, "event_id": VOIDED}}, ("event", "event_id")),
        ({"void": VOID, "event": None}, ("event",)),
    ],
)
def test_a_wrong_field_is_named(value: dict[str, Any], path: tuple[str, ...]) -> None:
    """No half of it counts: a replacement with a wrong event voids nothing."""
    with pytest.raises(InvalidBatchError) as caught:
        read(**value)

    assert [error.path for error in caught.value.errors] == [path]


@pytest.mark.parametrize("value", [b"", b"{", b'{"void": NaN}', b"\xff"])
def test_what_is_no_json_is_told_apart(value: bytes) -> None:
    """As for events, its letter says so."""
    with pytest.raises(NotJsonError):
        read_correction(value)


def test_a_void_is_an_event_that_costs_nothing_of_an_id_of_its_own() -> None:
    """The same id whenever it comes, another for another customer; it says what it undoes."""
    found = read(void=VOID | {"requested_by": "ann"})
    event = event_of(found, 1_769_996_400_000)

    assert event["event_id"] == event_of(found, 1)["event_id"] == void_event_id("cust", VOIDED)
    assert void_event_id("cust-2", VOIDED) != event["event_id"] != VOIDED
    assert event["metadata"] == {
        "voids": VOIDED,
        "reason": VOID["reason"],
        "requested_by": "ann",
    }
    assert event["timestamp"] == "2026-02-02T01:40:00Z"
    assert validate_each(orjson.dumps(event)) == [event]
    assert isinstance(rate(event, PriceBook(1, [], [])), Rated)
    assert correction_of(found.void, event) == found


def test_a_replacement_is_the_event_that_it_brings() -> None:
    """And is found again of it, for its letter."""
    found = read(void=VOID, event=EVENT)

    assert event_of(found, 1) == EVENT
    assert correction_of(found.void, event_of(found, 1)) == found


def test_letters_of_corrections_are_replayed_as_corrections() -> None:
    """By their bytes, whoever wrote them."""
    origin = Position(1, 2, 3, 4)
    assert letter_headers(origin, json.dumps({"void": VOID}).encode())[0] == CORRECTION_HEADER
    for value in (json.dumps(EVENT).encode(), b"no json", b'["void"]', b'"void"'):
        assert letter_headers(origin, value) == replay_headers(origin)

"""A void, or a replacement, as a record of the log."""

import json
from typing import Any

import pytest

from schemas.corrections import Correction, encode_correction, read_correction
from schemas.events import InvalidBatchError, NotJsonError

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

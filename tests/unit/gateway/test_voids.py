"""What a request to void an event means."""

import json
from typing import Any

import pytest

from gateway.ingest import ForeignCustomerError, InvalidBodyError
from gateway.voids import read_void
from schemas.corrections import Correction
from schemas.timestamps import TimestampPolicy
from tests.unit.gateway.fakes import CUSTOMER, EVENT

VOIDED = "550e8400-e29b-41d4-a716-446655440009"
NOW_MILLISECONDS = 1_737_124_200_000


def read(text: bytes, event_id: str = VOIDED) -> Correction:
    return read_void(
        text,
        CUSTOMER,
        event_id,
        now_milliseconds=NOW_MILLISECONDS,
        policy=TimestampPolicy(3_650, 86_400),
    )


def test_customer_and_event_are_the_requests_own() -> None:
    """Whatever the body says of them."""
    body = {"reason": "twice", "requested_by": "ann", "customer_id": "other", "event_id": "x"}
    found = read(json.dumps(body).encode())
    assert found.void == {
        "customer_id": CUSTOMER,
        "event_id": VOIDED,
        "reason": "twice",
        "requested_by": "ann",
    }
    assert found.event is None
    assert read(json.dumps(body | {"event": EVENT}).encode()).event is not None


@pytest.mark.parametrize(
    ("body", "at"),
    [
        (b"no json", []),
        (b"[1]", []),
        (b"{}", ["reason"]),
        (b'{"reason": ""}', ["reason"]),
        (b'{"reason": "r", "event": null}', ["event"]),
        (b'{"reason": "r", "event": {"event_id": 1}}', ["event", "event_id"]),
    ],
)
def test_what_is_wrong_is_told_by_field(body: bytes, at: list[str]) -> None:
    """As an ingest's answer tells it."""
    with pytest.raises(InvalidBodyError) as caught:
        read(body)
    node: Any = caught.value.details
    for name in at:
        node = node[name]
    assert node["_errors"]


def test_an_event_of_another_customer_is_refused() -> None:
    """A tenant puts its own events in the place of its own."""
    body = {"reason": "r", "event": EVENT | {"customer_id": "other"}}
    with pytest.raises(ForeignCustomerError):
        read(json.dumps(body).encode())


def test_an_id_that_is_none_and_a_time_that_cannot_be_are_refused() -> None:
    """Before Kafka has anything of it."""
    with pytest.raises(InvalidBodyError) as caught:
        read(b'{"reason": "r"}', "no-uuid")
    assert caught.value.details["event_id"]["_errors"] == ["Invalid uuid"]
    body = {"reason": "r", "event": EVENT | {"timestamp": "2035-01-01T00:00:00Z"}}
    with pytest.raises(InvalidBodyError) as late:
        read(json.dumps(body).encode())
    assert late.value.details["event"]["timestamp"]["_errors"]

"""What a valid event is. The table of fields and verdicts runs in tests/contract, on both doors."""

import json
from typing import Any

import pytest

from schemas.events import (
    FieldError,
    InvalidBatchError,
    InvalidEvent,
    NotJsonError,
    TooManyEventsError,
    check_timestamp,
    event_slices,
    validate_batch,
    validate_each,
)
from schemas.timestamps import TimestampPolicy, parse_timestamp

EVENT = {
    "event_id": "550E8400-e29b-41d4-a716-446655440001",
    "customer_id": "cust",
    "event_type": "TOKEN_USAGE",
    "feature_id": "f",
    "timestamp": "2025-01-17T14:30:00Z",
}


def batch(*events: dict[str, Any]) -> bytes:
    return json.dumps({"events": list(events)}).encode()


def test_event_is_returned_as_it_goes_on() -> None:
    """Id in lower case, unknown keys and an empty idempotency key gone."""
    (event,) = validate_batch(batch(EVENT | {"unknown": 1, "idempotency_key": ""}))

    assert event == EVENT | {"event_id": EVENT["event_id"].lower()}


def test_errors_name_the_field_by_its_path() -> None:
    """A batch is refused as a whole, with everything that is wrong with it."""
    bad = EVENT | {"event_id": "not-a-uuid", "event_type": "INVALID_TYPE", "input_tokens": "5"}

    with pytest.raises(InvalidBatchError) as caught:
        validate_batch(batch(EVENT, bad))

    assert [error.path for error in caught.value.errors] == [
        ("events", 1, "event_id"),
        ("events", 1, "event_type"),
        ("events", 1, "input_tokens"),
    ]


def test_gateway_takes_no_empty_batch() -> None:
    """Nothing to charge is a mistake of the caller's."""
    with pytest.raises(InvalidBatchError):
        validate_batch(b'{"events":[]}')


def test_more_than_a_thousand_events_are_too_many() -> None:
    """The limit holds on both doors, valid events or not."""
    with pytest.raises(TooManyEventsError):
        validate_batch(batch(*[EVENT] * 1001))
    with pytest.raises(TooManyEventsError):
        validate_each(batch(*[{}] * 1001))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"\xff\xfe", id="not-utf-8"),
        pytest.param(b'{"events":[' + b"[" * 100_000, id="deep"),
        pytest.param(b'{"events":[{"input_tokens":NaN}]}', id="nan"),
        pytest.param(b'{"a":1} x', id="trailing"),
    ],
)
def test_what_is_no_json(text: bytes) -> None:
    """Both doors say so, whatever is wrong with it."""
    with pytest.raises(NotJsonError):
        validate_batch(text)
    with pytest.raises(NotJsonError):
        validate_each(text)


@pytest.mark.parametrize("text", [b"[]", b"5", b"null", b'"x"', b'{"events":5}'])
def test_json_without_events(text: bytes) -> None:
    """A record that is neither an event nor a list of them is refused as a whole."""
    with pytest.raises(InvalidBatchError):
        validate_each(text)


def test_record_may_be_one_event() -> None:
    """A producer's own record needs no envelope."""
    (event,) = validate_each(json.dumps(EVENT).encode())

    assert not isinstance(event, InvalidEvent)
    assert event["customer_id"] == "cust"


def test_event_may_say_events_in_its_metadata() -> None:
    """The word in quotes does not make an event a batch."""
    (event,) = validate_each(json.dumps(EVENT | {"metadata": {"events": [1]}}).encode())

    assert not isinstance(event, InvalidEvent)


def test_bad_event_leaves_the_others_alone() -> None:
    """In a record each event has its own verdict, with what could be read of it."""
    good, bad, wrong = validate_each(batch(EVENT, EVENT | {"event_type": "X"}, {"event_id": "\0"}))

    assert not isinstance(good, InvalidEvent)
    assert isinstance(bad, InvalidEvent)
    assert bad.readable == {"customer_id": "cust", "event_id": EVENT["event_id"]}
    assert isinstance(wrong, InvalidEvent)
    assert "\0" not in wrong.readable["event_id"]


def test_record_without_events_holds_none() -> None:
    """An empty list in a record is nothing, not an error."""
    assert validate_each(b'{"events":[]}') == []


def test_slices_are_the_original_bytes() -> None:
    """Spacing, order and repeated keys stay as the producer wrote them."""
    record = (
        b' { "x" : [1, {"y":2}], "events" : [ {"a": 1,"a":2} , {"b" : "\xc3\xa4"}\n] , "z":0 } '
    )

    assert event_slices(record) == [b'{"a": 1,"a":2}', b'{"b" : "\xc3\xa4"}']


def test_slices_of_a_single_event_are_itself() -> None:
    """Without an envelope the record is the event."""
    assert event_slices(b' {"a": 1}\n') == [b'{"a": 1}']


def test_the_last_of_repeated_events_counts() -> None:
    """Slices agree with the reader about which list is meant."""
    record = b'{"events":[{"a":1}],"events":[{"b":2},{"c":3}]}'

    assert event_slices(record) == [b'{"b":2}', b'{"c":3}']
    assert len(validate_each(record)) == 2


NOON_MS = int(parse_timestamp("2025-01-17T12:00Z").timestamp() * 1000)


@pytest.mark.parametrize(
    ("timestamp", "is_fine"),
    [
        pytest.param("2025-01-17T12:01:00Z", True, id="future-limit"),
        pytest.param("2025-01-17T12:01:01Z", False, id="beyond-future-limit"),
        pytest.param("2025-01-15T12:00:00Z", True, id="past-limit"),
        pytest.param("2025-01-15T11:59:59Z", False, id="beyond-past-limit"),
    ],
)
def test_timestamp_policy(timestamp: str, is_fine: bool) -> None:
    """Both limits are inclusive; the message names the limit."""
    (event,) = validate_batch(batch(EVENT | {"timestamp": timestamp}))

    found = check_timestamp(event, NOON_MS, TimestampPolicy(2, 60))

    assert (found is None) is is_fine
    assert found is None or isinstance(found, FieldError)


def test_no_policy_no_limit() -> None:
    """None switches a limit off."""
    (event,) = validate_batch(batch(EVENT | {"timestamp": "0001-01-01T00:00Z"}))

    assert check_timestamp(event, NOON_MS, TimestampPolicy(None, None)) is None

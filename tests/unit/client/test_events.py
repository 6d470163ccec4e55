import json
from datetime import UTC, datetime, timedelta, timezone
from typing import get_args

import pytest

from burnstream_client.events import EVENT_BYTES_MAX, EventType, Fields, Tracked, new_event
from schemas import events as contract
from schemas.events import UsageEvent, validate_batch


def made(
    fields: Fields,
    event_type: EventType = "TOKEN_USAGE",
    event_id: str | None = None,
    key: str | None = None,
    timestamp: datetime | str | None = None,
) -> Tracked:
    return new_event(
        event_type,
        "chat",
        customer_id="cust-1",
        event_id=event_id,
        idempotency_key=key,
        timestamp=timestamp,
        fields=fields,
    )


def test_an_event_is_what_the_gateway_takes() -> None:
    """With nothing but its type and feature it has an id, a time, and is valid."""
    event = made({"model": "gpt-4-turbo", "input_tokens": 3})

    (valid,) = validate_batch(b'{"events":[' + event.json + b"]}")

    assert valid["event_id"] == event.event_id
    assert valid["input_tokens"] == 3
    assert "idempotency_key" not in valid


def test_ids_are_made_once_each() -> None:
    """Two events have two ids; one that is given is kept, as is a key."""
    given = json.loads(made({}, event_id="e", key="order-7").json)

    assert made({}).event_id != made({}).event_id
    assert (given["event_id"], given["idempotency_key"]) == ("e", "order-7")


def test_an_event_is_as_it_was_when_it_was_tracked() -> None:
    """What the caller changes afterwards does not change it."""
    metadata = {"a": 1}
    event = made({"metadata": metadata})
    metadata["a"] = 2

    assert json.loads(event.json)["metadata"] == {"a": 1}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC), "2025-01-02T03:04:05.000000Z"),
        (
            datetime(2025, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))),
            "2025-01-02T01:04:05.000000Z",
        ),
        ("2025-01-02T03:04:05Z", "2025-01-02T03:04:05Z"),
    ],
)
def test_times_are_told_in_utc(given: datetime | str, said: str) -> None:
    """A time of any zone is told in UTC; text goes as it is."""
    assert json.loads(made({}, timestamp=given).json)["timestamp"] == said


@pytest.mark.parametrize(
    ("fields", "timestamp", "error"),
    [
        ({}, datetime(2025, 1, 2), ValueError),  # noqa: DTZ001 -- of no zone, on purpose
        ({"quantity": float("nan")}, None, ValueError),
        ({"metadata": {"a": object()}}, None, TypeError),
        ({"metadata": {"a": "x" * EVENT_BYTES_MAX}}, None, ValueError),
    ],
)
def test_what_cannot_be_sent_is_the_callers_error(
    fields: Fields, timestamp: datetime | None, error: type[Exception]
) -> None:
    """What is no JSON, has no zone or is too large is refused where it is tracked."""
    with pytest.raises(error):
        made(fields, timestamp=timestamp)


def test_the_client_knows_every_field() -> None:
    """Its fields and event types are those that the gateway validates."""
    named = {"event_id", "customer_id", "event_type", "feature_id", "timestamp", "idempotency_key"}

    assert Fields.__annotations__.keys() | named == UsageEvent.__annotations__.keys()
    assert set(get_args(EventType)) == set(get_args(contract.EventType))

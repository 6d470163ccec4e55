"""What an ingest request means, without any I/O."""

import gzip
import json
import zlib
from typing import Any

import pytest

from gateway import ingest
from schemas.events import (
    FieldError,
    InvalidEvent,
    UsageEvent,
    validate_batch,
    validate_each,
    validate_leniently,
)
from schemas.timestamps import TimestampPolicy
from tests.unit.gateway.fakes import CUSTOMER, EVENT

NO_POLICY = TimestampPolicy(None, None)
NOW_MILLISECONDS = 1_737_124_200_000  # 2025-01-17T14:30:00Z


def body(*events: dict[str, Any]) -> bytes:
    return json.dumps({"events": list(events)}).encode()


def event_id(number: int) -> str:
    return f"550e8400-e29b-41d4-a716-{number:012}"


def events(count: int, **fields: Any) -> list[UsageEvent]:
    return validate_batch(body(*(EVENT | {"event_id": event_id(n)} | fields for n in range(count))))


def read(
    text: bytes, *, lenient: bool = False, policy: TimestampPolicy = NO_POLICY
) -> ingest.Batch:
    return ingest.read_batch(
        text, CUSTOMER, lenient=lenient, now_milliseconds=NOW_MILLISECONDS, policy=policy
    )


def test_details_are_a_tree_by_field_with_errors_at_every_node() -> None:
    """The form that clients of the guide's service read."""
    tree = ingest.details_tree(
        [
            FieldError(("events", 0, "event_id"), "Invalid uuid"),
            FieldError(("events", 0, "event_id"), "Too short"),
            FieldError((), "Odd"),
        ]
    )

    assert tree == {
        "_errors": ["Odd"],
        "events": {
            "_errors": [],
            "0": {
                "_errors": [],
                "event_id": {"_errors": ["Invalid uuid", "Too short"]},
            },
        },
    }


def test_strict_request_is_refused_as_a_whole_with_every_error() -> None:
    """One bad event refuses its batch, and every field that is wrong is named."""
    with pytest.raises(ingest.InvalidBodyError) as caught:
        read(body(EVENT, EVENT | {"event_id": "x", "quantity": 0}))

    assert set(caught.value.details["events"]["1"]) == {"_errors", "event_id", "quantity"}


def test_lenient_request_leaves_bad_events_out_and_names_them_by_index() -> None:
    """Indexes are those of the request, whether the schema or the policy refused the event."""
    old = EVENT | {"event_id": event_id(3), "timestamp": "2001-01-01T00:00:00Z"}
    policy = TimestampPolicy(past_days_max=365, future_seconds_max=None)
    bad = EVENT | {"model": 5}

    batch = read(body(bad, EVENT, old, bad, EVENT), lenient=True, policy=policy)

    assert [one.index for one in batch.rejections] == [0, 2, 3]
    assert batch.rejections[1].as_json() == {
        "index": 2,
        "errors": [{"path": "timestamp", "message": "More than 365 days in the past"}],
    }
    assert len(batch.events) == 2


def test_lenient_and_strict_readers_agree_on_every_event() -> None:
    """What a lenient request takes is what the streams would take of it, value for value."""
    fields: list[dict[str, Any]] = [
        {"input_tokens": 5.0, "quantity": 3, "duration_seconds": 2.5},
        {"event_id": event_id(1).upper(), "idempotency_key": ""},
        {"provider": "OPENAI", "provider_response": {"usage": {"prompt_tokens": 7}}},
        {"metadata": {"a": [1, 2.5, None, True, "x", 2**63]}},
        {"model": 5, "provider": {"a": [1]}, "input_tokens": []},
        {"customer_id": None, "timestamp": "x", "metadata": {"a": 2**64}},
        {"quantity": 10**16, "image_count": 1.5},
    ]
    text = body(*(EVENT | one for one in fields), {"metadata": {"a": [1]}}, {})

    lenient, each = validate_leniently(text), validate_each(text)

    assert [one for one in lenient if not isinstance(one, InvalidEvent)] == [
        one for one in each if not isinstance(one, InvalidEvent)
    ]
    assert [one.errors for one in lenient if isinstance(one, InvalidEvent)] == [
        one.errors for one in each if isinstance(one, InvalidEvent)
    ]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(body(EVENT | {"model": 5}), id="schema"),
        pytest.param(body(EVENT | {"timestamp": "2001-01-01T00:00:00Z"}), id="policy"),
        pytest.param(b"[]", id="no batch"),
        pytest.param(json.dumps(EVENT).encode(), id="a bare event"),
    ],
)
def test_lenient_request_without_a_good_event_is_refused(text: bytes) -> None:
    """Nothing is accepted, so the answer is no success."""
    with pytest.raises(ingest.InvalidBodyError):
        read(text, lenient=True, policy=TimestampPolicy(365, None))


@pytest.mark.parametrize("lenient", [False, True])
def test_foreign_event_refuses_the_batch_lenient_or_not(lenient: bool) -> None:
    """Nobody writes another customer's usage, not even beside their own."""
    with pytest.raises(ingest.ForeignCustomerError):
        read(body(EVENT, EVENT | {"customer_id": "other"}), lenient=lenient)


def test_schema_is_judged_before_ownership() -> None:
    """The order of the checks is part of the interface."""
    with pytest.raises(ingest.InvalidBodyError):
        read(body(EVENT | {"customer_id": "other", "model": 5}))


def test_policy_names_the_timestamp() -> None:
    """A time too far ahead is a field error like any other."""
    ahead = EVENT | {"timestamp": "2025-01-17T14:31:01Z"}

    with pytest.raises(ingest.InvalidBodyError) as caught:
        read(body(EVENT, ahead), policy=TimestampPolicy(None, future_seconds_max=60))

    assert caught.value.details["events"]["1"]["timestamp"]["_errors"] == [
        "More than 60 seconds in the future"
    ]


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [
        ("handling=lenient", True),
        ('return=minimal, Handling="lenient"; x=1', True),
        ("handling=strict", False),
        ("", False),
    ],
)
def test_prefer_header_is_read_as_a_list(prefer: str, expected: bool) -> None:
    """RFC 7240 lets preferences stand side by side, with parameters."""
    assert ingest.is_lenient(prefer) is expected


def test_small_batch_is_one_record() -> None:
    """The cost of a record is paid once for many events."""
    batch = events(100)

    records = ingest.to_records(batch)

    assert [validate_each(record) for record in records] == [batch]


def test_large_batch_is_split_into_whole_events_in_order() -> None:
    """No record passes the limit, and together they hold every event once."""
    batch = events(50, metadata={"x": "y" * 500})

    records = ingest.to_records(batch, bytes_max=5_000)

    assert len(records) > 5
    assert all(len(record) <= 5_000 for record in records)
    assert [one for record in records for one in validate_each(record)] == batch


def test_largest_possible_event_fits_a_record() -> None:
    """A valid event can always be written, whatever its texts."""
    fields = ("user_id", "team_id", "feature_id", "model", "image_size", "quality", "resolution")
    texts = dict.fromkeys((*fields, "unit_type", "idempotency_key"), "\x01" * 512)
    moment = f"2025-01-17T14:30:00.{'1' * 491}Z"
    batch = events(12, metadata={"a": "x" * 65_000}, timestamp=moment, **texts)

    records = ingest.to_records(batch)

    assert [one for record in records for one in validate_each(record)] == batch
    assert max(map(len, records)) <= ingest.RECORD_BYTES_MAX


def test_repeated_and_remembered_events_are_duplicates() -> None:
    """An identity counts once in a batch, and not at all when it was accepted before."""
    first, second, third = ingest.advice_identities(events(3))

    assert ingest.count_duplicates([first, second, first], [False] * 3) == 1
    assert ingest.count_duplicates([first, second, third], [True, False, True]) == 2
    assert ingest.count_duplicates([first, first], [True, True]) == 2


def test_key_stands_for_the_event_where_there_is_one() -> None:
    """Guide 4.3: a known event_id under a new key is accepted, the key's repetition is not."""
    plain, keyed = events(1), events(1, idempotency_key="k")
    other_id = validate_batch(body(EVENT | {"event_id": event_id(9), "idempotency_key": "k"}))

    assert ingest.advice_identities(plain) != ingest.advice_identities(keyed)
    assert ingest.advice_identities(keyed) == ingest.advice_identities(other_id)


def test_inflated_size_is_bounded_while_inflating() -> None:
    """A bomb of a gigabyte costs no more than the limit."""
    bomb = gzip.compress(b"\0" * (64 << 20))

    with pytest.raises(ingest.BodyTooLargeError):
        ingest.inflate(bomb, bytes_max=1_000_000)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"plain text", id="not gzip"),
        pytest.param(gzip.compress(b"x" * 1000)[:-9], id="truncated"),
        pytest.param(gzip.compress(b"x") + b"y", id="more behind"),
        pytest.param(zlib.compress(b"x"), id="zlib"),
        pytest.param(gzip.compress(b"x" * 99)[:-8] + b"\0" * 8, id="wrong checksum"),
        pytest.param(b"", id="empty"),
    ],
)
def test_broken_gzip_is_the_callers_mistake(broken: bytes) -> None:
    """What cannot be inflated is a bad request, no failure of ours."""
    with pytest.raises(ingest.InvalidBodyError):
        ingest.inflate(broken, bytes_max=1_000_000)


def test_body_of_exactly_the_limit_is_inflated() -> None:
    """The limit itself is allowed."""
    assert ingest.inflate(gzip.compress(b"x" * 1000), bytes_max=1000) == b"x" * 1000


def test_a_field_named_as_the_messages_of_a_node_is_told_of_at_that_node() -> None:
    """The answer's tree has no room for a child `_errors`; it is no error of ours."""
    tree = ingest.details_tree([FieldError(("events", 0, "_errors", "x"), "Unknown field")])
    assert tree["events"]["0"] == {"_errors": ["Unknown field"]}

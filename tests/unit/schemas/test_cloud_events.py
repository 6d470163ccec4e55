import json
from typing import Any
from uuid import uuid5

import pytest
from multidict import CIMultiDict

from schemas.cloud_events import (
    BATCH,
    EVENT_ID_NAMESPACE,
    STRUCTURED,
    http_mode,
    in_utc,
    marks_cloud_event,
    read_kafka,
    usage_event_id,
    usage_event_json,
    validate_http,
)
from schemas.events import InvalidBatchError, InvalidEvent, NotJsonError, TooManyEventsError

CLOUD_EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "Order 4711, line 2",
    "source": "/shops/berlin",
    "type": "com.example.token_usage",
    "subject": "cust-1",
    "time": "2026-11-20T11:00:00.25+01:00",
    "datacontenttype": "application/json",
    "data": {
        "feature_id": "chat",
        "provider": "OPENAI",
        "model": "gpt-4-turbo",
        "input_tokens": 1000,
        "output_tokens": 500,
    },
}
USAGE_EVENT = {
    "event_id": str(uuid5(EVENT_ID_NAMESPACE, "/shops/berlin Order 4711, line 2")),
    "idempotency_key": "/shops/berlin Order 4711, line 2",
    "customer_id": "cust-1",
    "event_type": "TOKEN_USAGE",
    "timestamp": "2026-11-20T10:00:00.25Z",
    **CLOUD_EVENT["data"],
}


def changed(**changes: Any) -> dict[str, Any]:
    return CLOUD_EVENT | changes


def binary(prefix: str) -> dict[str, str]:
    return {
        prefix + name: value
        for name, value in CLOUD_EVENT.items()
        if name not in {"data", "datacontenttype"}
    }


DATA = json.dumps(CLOUD_EVENT["data"]).encode()


def test_a_cloud_event_is_a_usage_event() -> None:
    """Attributes fill the fields that `data` leaves out; source and id make both identities."""
    assert json.loads(usage_event_json(CLOUD_EVENT)) == USAGE_EVENT
    named = changed(
        data=CLOUD_EVENT["data"]
        | {"customer_id": "own", "event_type": "CUSTOM", "timestamp": "2026-01-01T00:00Z"}
    )
    found = json.loads(usage_event_json(named))
    assert [found[name] for name in ("customer_id", "event_type", "timestamp")] == [
        "own",
        "CUSTOM",
        "2026-01-01T00:00Z",
    ]


def test_the_namespace_of_event_ids_never_changes() -> None:
    """An event sent again after an upgrade has the id that it had before."""
    assert usage_event_id("/shops/berlin", "4711") == "1672f104-01f5-5bb8-907d-c75eea8b50bf"


def test_every_mode_of_every_transport_gives_the_same_event() -> None:
    """Structured, batch and binary, over HTTP and on Kafka, are one event."""
    whole = json.dumps(CLOUD_EVENT).encode()
    [structured] = validate_http(whole, "structured", {})
    [batch] = validate_http(b"[" + whole + b"]", "batch", {})
    quoted = {
        **binary("Ce-"),
        "ce-id": '"Order%204711, line \\2"',
        "authorization": "Bearer x",
    }
    [of_headers] = validate_http(DATA, "binary", CIMultiDict(quoted))
    kafka = [(name, value.encode()) for name, value in binary("ce_").items()]
    ours = [
        read_kafka(whole, [("content-type", STRUCTURED.encode() + b"; charset=utf-8")]),
        read_kafka(DATA, [*kafka, ("content-type", b"application/json")]),
        read_kafka(DATA, [("traceparent", b"x"), *kafka]),
    ]

    assert structured == batch == of_headers == USAGE_EVENT
    assert [json.loads(one) for one in ours] == [USAGE_EVENT] * 3


@pytest.mark.parametrize(
    ("content_type", "headers", "mode"),
    [
        (STRUCTURED, {}, "structured"),
        (BATCH, {}, "batch"),
        ("application/json", {"CE-SpecVersion": "1.0"}, "binary"),
        ("application/json", {}, None),
        ("application/vnd.other+json", {"traceparent": "x"}, None),
    ],
)
def test_a_request_says_how_it_carries_them(
    content_type: str, headers: dict[str, str], mode: str | None
) -> None:
    """The content type decides, for the binary mode a header."""
    assert http_mode(content_type, CIMultiDict(headers)) == mode


@pytest.mark.parametrize(
    ("header", "value", "is_one"),
    [
        ("content-type", b"application/cloudevents+json", True),
        ("content-type", b"Application/CloudEvents+JSON; charset=utf-8", True),
        ("content-type", b"application/cloudevents+avro", True),
        ("ce_specversion", b"1.0", True),
        ("content-type", b"application/json", False),
        ("content-type", b"", False),
    ],
)
def test_a_records_headers_say_whether_it_is_one(header: str, value: bytes, is_one: bool) -> None:
    """A producer's own JSON with a content type stays what it is."""
    assert marks_cloud_event(header, value) is is_one


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"id": None}, {"id": "Required"}),
        ({"id": ""}, {"id": "Expected a text that is not empty"}),
        ({"id": 5}, {"id": "Expected a text that is not empty"}),
        ({"source": "a b"}, {"source": "Must hold no white space"}),
        ({"specversion": "0.3"}, {"specversion": "Expected '1.0'"}),
        ({"time": "yesterday", "type": None}, {"type": "Required", "time": "Expected a time"}),
        ({"time": "2026-02-30T00:00:00Z"}, {"time": "Expected a time"}),
        ({"datacontenttype": "text/xml"}, {"datacontenttype": "Expected JSON"}),
        ({"data": None}, {"data": "Required"}),
        ({"data": None, "data_base64": "e30="}, {"data": "Required"}),
        ({"data": "text"}, {"data": "Expected object"}),
        ({"data": {"event_id": "x"}}, {"data.event_id": "Not in a CloudEvent"}),
        ({"data": {"idempotency_key": "x"}}, {"data.idempotency_key": "Not in a CloudEvent"}),
        ({"data": {"events": []}}, {"data.events": "A CloudEvent holds one usage event"}),
        ({"data": {"metadata": {"n": 2**70}}}, {"data": "Integers must fit in 64 bits"}),
    ],
)
def test_what_is_wrong_with_a_cloud_event_is_named(
    changes: dict[str, Any], wrong: dict[str, str]
) -> None:
    """Each attribute that is wrong is named, with the reason."""
    with pytest.raises(InvalidBatchError) as raised:
        usage_event_json(changed(**changes))
    found = {".".join(map(str, one.path)): one.message for one in raised.value.errors}
    assert found.keys() == wrong.keys()
    assert all(found[name].startswith(message) for name, message in wrong.items())


def test_what_is_wrong_with_the_usage_event_is_named_by_its_field() -> None:
    """A CloudEvent that is whole but no usage event fails like any event."""
    bad = changed(type="com.example.order", data={}, subject=None, id="x" * 600)
    [found] = validate_http(json.dumps(bad).encode(), "structured", {})
    assert isinstance(found, InvalidEvent)
    assert {one.path[0] for one in found.errors} == {
        "customer_id",
        "event_type",
        "feature_id",
        "idempotency_key",
    }


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", NotJsonError),
        (b'[{"a": NaN}]', NotJsonError),
        (b"[]", InvalidBatchError),
        (b"{}", InvalidBatchError),
        (json.dumps([{}] * 1001).encode(), TooManyEventsError),
    ],
)
def test_a_body_that_is_no_batch_is_refused_whole(body: bytes, error: type[Exception]) -> None:
    """No JSON, no array, none or too many: there are no events to judge."""
    with pytest.raises(error):
        validate_http(body, "batch", {})


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ([("content-type", b"application/cloudevents-batch+json")], b"[]"),
        ([("content-type", b"application/cloudevents+avro")], b"\0"),
        ([("content-type", STRUCTURED.encode())], b"[]"),
        ([("ce_specversion", b"1.0"), ("ce_id", b"\xff")], DATA),
        ([("ce_specversion", b"1.0")], DATA),
    ],
)
def test_a_record_that_is_a_bad_cloud_event_is_refused(
    headers: list[tuple[str, bytes | None]], value: bytes
) -> None:
    """What claims to be a CloudEvent and is none is never read as something else."""
    with pytest.raises(InvalidBatchError):
        read_kafka(value, headers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
        ("2026-11-20t10:00:00.123456789z", "2026-11-20T10:00:00.123456789Z"),
        ("2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00Z"),
        ("0999-01-01T00:00:00-00:30", "0999-01-01T00:30:00Z"),
        ("2026-11-20 10:00:00Z", None),
        ("2026-11-20T10:00:00", None),
        ("2026-11-20T10:00Z", None),
        ("2026-11-20T10:00:60Z", None),
        ("0001-01-01T00:00:00+01:00", None),
    ],
)
def test_times_are_brought_to_utc(text: str, expected: str | None) -> None:
    """Times of RFC 3339 with any offset, to the digit."""
    assert in_utc(text) == expected

"""CloudEvents 1.0 in our own form: pure, the same for HTTP and for Kafka.

A CloudEvent becomes the JSON of one usage event, which `schemas.events` then judges like any other.
What its attributes say fills the fields that its `data` leaves out; who it is, `source` and `id`
alone say. Table: docs/produce.md, "CloudEvents".
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NotRequired
from urllib.parse import unquote
from uuid import UUID, uuid5

import orjson
from pydantic import ConfigDict, Field, with_config
from pydantic_core import from_json
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from schemas.events import (
    FieldError,
    InvalidBatchError,
    InvalidEvent,
    NotJsonError,
    TooManyEventsError,
    UsageEvent,
    refuse_non_finite,
    validate_object,
)
from schemas.topics import EVENTS_PER_RECORD_MAX

# Never to change: with another one, an event sent again would be another event.
EVENT_ID_NAMESPACE = UUID("26609829-f605-4f74-b231-bd1838b90ec0")
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
HTTP_PREFIX, KAFKA_PREFIX = "ce-", "ce_"
_CONTENT_TYPE, _SPEC_VERSION_HEADER = "content-type", "ce_specversion"
# Only a record of Kafka with one of these headers can be a CloudEvent.
TELLING_HEADERS = frozenset({_CONTENT_TYPE, _SPEC_VERSION_HEADER})

Mode = Literal["structured", "batch", "binary"]

_SPEC_VERSION = "1.0"
_ANY_MEDIA_TYPE = b"application/cloudevents"
_REQUIRED = ("specversion", "id", "source", "type")
_TEXTS = (*_REQUIRED, "subject", "time", "datacontenttype")
# What `data` may not say: whose values `source` and `id` decide, and that it is a batch of ours.
_REFUSED_IN_DATA = {
    "event_id": "Not in a CloudEvent: its source and id say it",
    "idempotency_key": "Not in a CloudEvent: its source and id say it",
    "events": "A CloudEvent holds one usage event",
}
_SPACE = re.compile(r"\s")
_JSON_TYPE = re.compile(
    r"\s*(?:application/json|[\w.+-]+/[\w.+-]+\+json)\s*(?:;.*)?", re.IGNORECASE | re.DOTALL
)
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)


@with_config(
    ConfigDict(
        extra="ignore",
        json_schema_extra={"additionalProperties": {"not": {"type": ["array", "object"]}}},
    )
)
class CloudEvent(TypedDict):
    """A CloudEvent 1.0 in JSON, for documents; `_FORMS` and `schemas.events` judge it."""

    specversion: Literal["1.0"]
    id: Annotated[str, Field(min_length=1, description="any text, unique within its source")]
    source: Annotated[str, Field(min_length=1, pattern=r"^\S+$")]
    type: Annotated[str, Field(min_length=1, description="its last part is the event_type")]
    subject: NotRequired[Annotated[str, Field(min_length=1, description="the customer_id")]]
    time: NotRequired[
        Annotated[
            str, Field(description="the timestamp", json_schema_extra={"format": "date-time"})
        ]
    ]
    datacontenttype: NotRequired[str]
    data: Annotated[
        dict[str, Any],
        Field(
            description="fields of a usage event; those that attributes fill may be left out",
            json_schema_extra={
                "not": {"anyOf": [{"required": [name]} for name in _REFUSED_IN_DATA]}
            },
        ),
    ]


def identity_text(source: str, event_id: str) -> str:
    """Return the idempotency key of a CloudEvent. A `source` holds no space: no two are alike."""
    return f"{source} {event_id}"


def usage_event_id(source: str, event_id: str) -> str:
    """Return the `event_id` of a CloudEvent: a name-based UUID (version 5)."""
    return str(uuid5(EVENT_ID_NAMESPACE, identity_text(source, event_id)))


def http_mode(content_type: str, headers: Mapping[str, str]) -> Mode | None:
    """Return how an HTTP request carries CloudEvents, None when it carries none."""
    if content_type == STRUCTURED:
        return "structured"
    if content_type == BATCH:
        return "batch"
    return "binary" if HTTP_PREFIX + "specversion" in headers else None


def validate_http(
    body: bytes, mode: Mode, headers: Mapping[str, str]
) -> list[UsageEvent | InvalidEvent]:
    """Return each event of a request's body, valid or not.

    Raises NotJsonError, TooManyEventsError, or InvalidBatchError where it is no list of them.
    """
    if mode == "structured":
        return [_validate(_from_json(body))]
    if mode == "binary":
        attributes = {
            name.lower().removeprefix(HTTP_PREFIX): _header_text(value)
            for name, value in headers.items()
            if name.lower().startswith(HTTP_PREFIX)
        }
        return [_validate({**attributes, "data": _from_json(body)})]
    found = _from_json(body)
    if not isinstance(found, list) or not found:
        raise _refusal("Expected an array of one CloudEvent or more")
    if len(found) > EVENTS_PER_RECORD_MAX:
        at_most = FieldError((), f"At most {EVENTS_PER_RECORD_MAX} events at once")
        raise TooManyEventsError((at_most,))
    return [_validate(one) for one in found]


def _validate(cloud_event: object) -> UsageEvent | InvalidEvent:
    try:
        mapped = usage_event_json(cloud_event)
    except InvalidBatchError as error:
        return InvalidEvent(error.errors, {})
    return validate_object(mapped)


def marks_cloud_event(header: str, value: bytes) -> bool:
    """Tell whether a header of `TELLING_HEADERS` makes its record of Kafka a CloudEvent."""
    return header == _SPEC_VERSION_HEADER or _is_of_cloud_events(value)


def _is_of_cloud_events(content_type: bytes) -> bool:
    return content_type[: len(_ANY_MEDIA_TYPE)].lower() == _ANY_MEDIA_TYPE


def read_kafka(value: bytes, headers: Sequence[tuple[str, bytes | None]]) -> bytes:
    """Return the JSON of the usage event that a record of Kafka carries as a CloudEvent.

    Raises NotJsonError, or InvalidBatchError with what is wrong.
    """
    named = dict(headers)
    content_type = named.get(_CONTENT_TYPE) or b""
    if _is_of_cloud_events(content_type):
        if content_type.lower().partition(b";")[0].strip() != STRUCTURED.encode():
            raise _refusal(f"A record takes {STRUCTURED}, one event", _CONTENT_TYPE)
        return usage_event_json(_from_json(value))
    attributes = {
        name.removeprefix(KAFKA_PREFIX): _utf8(name, text or b"")
        for name, text in named.items()
        if name.startswith(KAFKA_PREFIX)
    }
    if content_type:
        attributes["datacontenttype"] = _utf8(_CONTENT_TYPE, content_type)
    return usage_event_json({**attributes, "data": _from_json(value)})


def usage_event_json(cloud_event: object) -> bytes:
    """Return the JSON of the usage event that a CloudEvent (plain values) stands for.

    It may still be no valid usage event. Raises InvalidBatchError with what is wrong about the
    CloudEvent itself, by attribute.
    """
    if not isinstance(cloud_event, dict):
        raise _refusal("Expected object: a CloudEvent")
    given = {name: value for name, value in cloud_event.items() if value is not None}
    errors = (*_attribute_errors(given), *_data_errors(given))
    if errors:
        raise InvalidBatchError(errors)
    identity = {
        "event_id": usage_event_id(given["source"], given["id"]),
        "idempotency_key": identity_text(given["source"], given["id"]),
    }
    try:
        return orjson.dumps(_filled(given) | given["data"] | identity)
    except TypeError:
        raise _refusal("Integers must fit in 64 bits", "data") from None


def _attribute_errors(given: Mapping[str, Any]) -> Iterator[FieldError]:
    # CloudEvents know no such attributes, and the audit, which reads no headers, would take a list
    # `events` for a batch of ours. No path: a caller's own names are nothing to say errors by.
    others = (value for name, value in given.items() if name != "data" and name not in _TEXTS)
    if any(isinstance(value, list | dict) for value in others):
        yield FieldError((), "Expected no list and no object outside data")
    for name in _REQUIRED:
        if name not in given:
            yield FieldError((name,), "Required")
    for name in _TEXTS:
        value = given.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or not value:
            yield FieldError((name,), "Expected a text that is not empty")
        elif name in _FORMS and not _FORMS[name][0](value):
            yield FieldError((name,), _FORMS[name][1])


def _data_errors(given: Mapping[str, Any]) -> Iterator[FieldError]:
    data = given.get("data")
    if data is None:
        yield FieldError(("data",), "Required")
    elif not isinstance(data, dict):
        yield FieldError(("data",), "Expected object: the fields of a usage event")
    else:
        for name, message in _REFUSED_IN_DATA.items():
            if name in data:
                yield FieldError(("data", name), message)


def _filled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that attributes fill, where `data` does not."""
    filled = {"event_type": _event_type(given["type"])}
    if "subject" in given:
        filled["customer_id"] = given["subject"]
    if "time" in given:
        filled["timestamp"] = in_utc(given["time"]) or ""
    return filled


def _event_type(cloud_type: str) -> str:
    """Read the last part of a type: `com.example.token_usage` is TOKEN_USAGE."""
    return cloud_type.rpartition(".")[2].upper().replace("-", "_")


def in_utc(text: str) -> str | None:
    """Return a time of RFC 3339 in UTC, its fraction of a second as it is; None: it is no time."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{zone.upper()}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=None).isoformat() + (fraction or "") + "Z"


def _header_text(value: str) -> str:
    """Return an attribute's value of an HTTP header: quotes undone, then percent-encoding."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        return unquote(value.encode("utf-8", "surrogateescape").decode(), errors="strict")
    except UnicodeDecodeError:
        raise _refusal("A header of the CloudEvent is not UTF-8") from None


def _utf8(header: str, text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise _refusal("Not UTF-8", header) from None


def _from_json(text: bytes) -> Any:
    refuse_non_finite(text)
    try:
        return from_json(text)
    except ValueError as error:
        raise NotJsonError(str(error)) from None


def _refusal(message: str, *path: str) -> InvalidBatchError:
    return InvalidBatchError((FieldError(path, message),))


# Attributes of a certain form, and what is said where they have another.
_FORMS: Mapping[str, tuple[Callable[[str], object], str]] = {
    "specversion": (lambda text: text == _SPEC_VERSION, f"Expected '{_SPEC_VERSION}'"),
    "source": (lambda text: _SPACE.search(text) is None, "Must hold no white space"),
    "time": (in_utc, "Expected a time as RFC 3339 has it, such as 2025-01-17T15:30:00+01:00"),
    "datacontenttype": (_JSON_TYPE.fullmatch, "Expected JSON"),
}

"""What a usage event is, and what a valid one looks like: one answer for both doors.

The gateway and the streams validate with the same adapters, so an event that one takes the other
takes too. JSON text in, plain dicts out; unknown keys are dropped, `null` is not "absent".
Field rules: docs/produce.md, table "Fields of an event".
"""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal, NotRequired, cast

import orjson
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    with_config,
)
from pydantic_core import ErrorDetails, from_json
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from schemas.json_slices import array_slices, skip_space, value_at
from schemas.provider_response import TEXT_LENGTH_MAX, TOKENS_MAX, take_provider_response
from schemas.timestamps import (
    SURE_TIMESTAMP,
    UTC_TIME,
    TimestampPolicy,
    parse_timestamp,
    time_bounds,
)
from schemas.topics import EVENTS_PER_RECORD_MAX

EventType = Literal[
    "TOKEN_USAGE",
    "API_CALL",
    "FEATURE_ACCESS",
    "IMAGE_GENERATION",
    "VIDEO_GENERATION",
    "CUSTOM",
]
Provider = Literal[
    "OPENAI",
    "ANTHROPIC",
    "GOOGLE",
    "COHERE",
    "MISTRAL",
    "STABILITY_AI",
    "RUNWAY",
    "REPLICATE",
    "AMAZON",
    "BLACK_FOREST_LABS",
]

# Quantities and seconds above this have no price that anybody means; it also bounds arithmetic.
AMOUNT_MAX = 10**15
METADATA_BYTES_MAX = 65_536

UUID_PATTERN = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"


def _integral(value: float) -> int:
    """Read 5.0 as 5: JSON does not tell them apart."""
    if not value.is_integer():
        raise ValueError("Expected integer, received a number with a fraction")
    return int(value)


def _timestamp(text: str) -> str:
    """Accept ISO 8601 in UTC with `Z`; seconds and a fraction of any length are optional."""
    parse_timestamp(text)
    return text


def bounded_metadata(value: dict[str, Any]) -> dict[str, Any]:
    """Return metadata that can be kept. Raises ValueError."""
    try:
        encoded = orjson.dumps(value)
    except TypeError:
        raise ValueError("Integers must fit in 64 bits") from None
    if len(encoded) > METADATA_BYTES_MAX:
        raise ValueError(f"At most {METADATA_BYTES_MAX} bytes of JSON")
    if rb"\u0000" in encoded:
        raise ValueError("Must not hold the character U+0000")
    return value


# Postgres holds no U+0000 in text.
Text = Annotated[str, StringConstraints(max_length=TEXT_LENGTH_MAX, pattern=r"^[^\x00]*$")]
RequiredText = Annotated[
    str, StringConstraints(min_length=1, max_length=TEXT_LENGTH_MAX, pattern=r"^[^\x00]+$")
]
# The usual branch stands first and stays in Rust.
Timestamp = Annotated[
    Annotated[str, StringConstraints(max_length=TEXT_LENGTH_MAX, pattern=SURE_TIMESTAMP)]
    | Annotated[str, StringConstraints(max_length=TEXT_LENGTH_MAX), AfterValidator(_timestamp)],
    Field(union_mode="left_to_right"),
    # What documents say of both branches; the calendar is beyond a pattern.
    WithJsonSchema({"type": "string", "maxLength": TEXT_LENGTH_MAX, "pattern": f"^{UTC_TIME}$"}),
]
TokenCount = Annotated[
    Annotated[StrictInt, Field(ge=0, le=TOKENS_MAX)]
    | Annotated[StrictFloat, Field(ge=0, lt=TOKENS_MAX), AfterValidator(_integral)],
    Field(union_mode="left_to_right"),
]
ImageCount = Annotated[
    Annotated[StrictInt, Field(gt=0, le=AMOUNT_MAX)]
    | Annotated[StrictFloat, Field(gt=0, le=AMOUNT_MAX), AfterValidator(_integral)],
    Field(union_mode="left_to_right"),
]
Amount = Annotated[
    Annotated[StrictInt, Field(gt=0, le=AMOUNT_MAX)]
    | Annotated[StrictFloat, Field(gt=0, le=AMOUNT_MAX, allow_inf_nan=False)],
    Field(union_mode="left_to_right"),
]


@with_config(ConfigDict(strict=True, extra="ignore", allow_inf_nan=False))
class UsageEvent(TypedDict):
    """One usage event, as validated: `event_id` in lower case, an empty key removed."""

    event_id: Annotated[str, StringConstraints(pattern=UUID_PATTERN, to_lower=True)]
    customer_id: RequiredText
    event_type: EventType
    feature_id: Text
    timestamp: Timestamp
    user_id: NotRequired[Text]
    team_id: NotRequired[Text]
    provider: NotRequired[Provider]
    model: NotRequired[Text]
    input_tokens: NotRequired[TokenCount]
    output_tokens: NotRequired[TokenCount]
    image_count: NotRequired[ImageCount]
    image_size: NotRequired[Text]
    quality: NotRequired[Text]
    duration_seconds: NotRequired[Amount]
    resolution: NotRequired[Text]
    unit_type: NotRequired[Text]
    quantity: NotRequired[Amount]
    metadata: NotRequired[Annotated[dict[str, Any], AfterValidator(bounded_metadata)]]
    idempotency_key: NotRequired[Text]
    provider_response: NotRequired[dict[str, Any]]


@with_config(ConfigDict(strict=True, extra="ignore"))
class EventBatch(TypedDict):
    """The body of an ingest request, and one form of a record of `usage.raw`."""

    events: Annotated[list[UsageEvent], Field(min_length=1, max_length=EVENTS_PER_RECORD_MAX)]


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field; `path` leads to it from the batch (or the event)."""

    path: tuple[str | int, ...]
    message: str

    def as_json(self) -> dict[str, str]:
        """Return the entry of an event's `errors[]`, as answers and reject files have it."""
        return {"path": ".".join(map(str, self.path)), "message": self.message}


@dataclass(frozen=True, slots=True)
class InvalidEvent:
    """An event that is not valid, with what could be read of it for those who look for it."""

    errors: tuple[FieldError, ...]
    readable: dict[str, str]  # customer_id, event_id, idempotency_key, provider, model, where text


class NotJsonError(ValueError):
    """The text is no JSON (or not UTF-8)."""


class InvalidBatchError(ValueError):
    """The JSON is no batch of valid events."""

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__("; ".join(f"{_dotted(e.path)}: {e.message}" for e in errors[:5]))
        self.errors = errors


class TooManyEventsError(InvalidBatchError):
    """More events than a record may hold."""


_BATCH = TypeAdapter(EventBatch)
_EVENT = TypeAdapter(UsageEvent)
_READABLE = ("customer_id", "event_id", "idempotency_key", "provider", "model")


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path)) or "(top level)"


def validate_batch(body: bytes) -> list[UsageEvent]:
    """Return the valid events of `{"events": [...]}`, all or nothing.

    Raises NotJsonError, TooManyEventsError, or InvalidBatchError with every field that is wrong.
    """
    refuse_non_finite(body)
    try:
        batch = _BATCH.validate_json(body)
    except ValidationError as error:
        raise _refusal(error, _Json(body)) from None
    return [settle(event) for event in batch["events"]]


def validate_leniently(body: bytes) -> list[UsageEvent | InvalidEvent]:
    """Return each event of `{"events": [...]}`, valid or not; not what is readable of the latter.

    The same as `validate_each` for a batch, without the cost of finding the events' own bytes.
    Raises NotJsonError, TooManyEventsError, or InvalidBatchError with what is wrong outside events.
    """
    refuse_non_finite(body)
    try:
        return [settle(event) for event in _BATCH.validate_json(body)["events"]]
    except ValidationError as error:
        parsed = _Json(body)
        refusal = _refusal(error, parsed)
    if isinstance(refusal, NotJsonError | TooManyEventsError):
        raise refusal
    wrong: dict[str | int, list[FieldError]] = {}
    for one in refusal.errors:
        if len(one.path) < 2 or one.path[0] != "events":  # noqa: PLR2004 -- events, index
            raise refusal
        wrong.setdefault(one.path[1], []).append(FieldError(one.path[2:], one.message))
    return [
        InvalidEvent(tuple(wrong[at]), {}) if at in wrong else settle(_EVENT.validate_python(event))
        for at, event in enumerate(parsed.value["events"])
    ]


class _Json:
    """A text that is JSON, as plain values when somebody asks: it may be large."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    @cached_property
    def value(self) -> Any:
        return from_json(self._text)

    def at(self, path: tuple[str | int, ...]) -> Any:
        """Return the value at a path that a validator has gone."""
        found = self.value
        for part in path:
            found = found[part]
        return found


def refuse_non_finite(value: bytes) -> None:
    """Refuse NaN and Infinity, which pydantic's JSON reader takes and JSON does not know."""
    if b"NaN" in value or b"Infinity" in value:
        try:
            from_json(value, allow_inf_nan=False)
        except ValueError as error:
            raise NotJsonError(str(error)) from None


def validate_each(value: bytes) -> list[UsageEvent | InvalidEvent]:
    """Return each event of a record, valid or not: one event object, or `{"events": [...]}`.

    Raises NotJsonError, TooManyEventsError or InvalidBatchError when the record as a whole holds
    no list of events. An empty list of events is valid here and yields nothing.
    """
    if b'"events"' not in value:
        one = validate_object(value)
        # JSON may spell the key with escapes; then it is no event, but holds some.
        is_final = not isinstance(one, InvalidEvent) or b"\\u" not in value
        return [one] if is_final else _validate_one_by_one(value)
    try:
        return cast("list[UsageEvent | InvalidEvent]", validate_batch(value))
    except TooManyEventsError:
        raise
    except InvalidBatchError:
        return _validate_one_by_one(value)


def _validate_one_by_one(value: bytes) -> list[UsageEvent | InvalidEvent]:
    slices = event_slices(value)
    if len(slices) > EVENTS_PER_RECORD_MAX:
        raise TooManyEventsError(
            (FieldError(("events",), f"At most {EVENTS_PER_RECORD_MAX} events a record"),)
        )
    return [_validate_one(text) for text in slices]


def validate_object(value: bytes) -> UsageEvent | InvalidEvent:
    """Validate a record that is one event: the usual form of a producer's own records."""
    refuse_non_finite(value)
    try:
        return settle(_EVENT.validate_json(value))
    except ValidationError as error:
        refusal = _refusal(error, _Json(value))
        if isinstance(refusal, NotJsonError) or refusal.errors[0].path == ():
            raise refusal from None
        return InvalidEvent(refusal.errors, _readable(value))


def _validate_one(text: bytes) -> UsageEvent | InvalidEvent:
    try:
        return settle(_EVENT.validate_json(text))
    except ValidationError as error:
        return InvalidEvent(_field_errors(_found(error), _Json(text)), _readable(text))


def settle(event: UsageEvent) -> UsageEvent:
    """Return the event as it goes on: counts filled in, an empty idempotency key gone."""
    if "provider_response" in event:
        own_metadata = event.get("metadata")
        event = cast("UsageEvent", take_provider_response(cast("dict[str, Any]", event)))
        # What one door accepted must pass the other: the event's own metadata may fill the limit.
        if own_metadata and len(orjson.dumps(event["metadata"])) > METADATA_BYTES_MAX:
            event["metadata"] = own_metadata
    if event.get("idempotency_key") == "":
        del event["idempotency_key"]
    return event


def _readable(text: bytes) -> dict[str, str]:
    found = json.loads(text)
    if not isinstance(found, dict):
        return {}
    values = {name: found.get(name) for name in _READABLE}
    # Postgres will keep these beside the letter: no U+0000, no lone surrogates.
    return {
        name: value.encode("utf-8", "replace")
        .decode()
        .replace("\0", "\N{REPLACEMENT CHARACTER}")[:TEXT_LENGTH_MAX]
        for name, value in values.items()
        if isinstance(value, str) and value
    }


def _found(error: ValidationError) -> list[ErrorDetails]:
    # Without inputs: pydantic would copy an event's whole object once for every missing field.
    return error.errors(include_url=False, include_context=True, include_input=False)


def refusal_of(error: ValidationError, text: bytes) -> NotJsonError | InvalidBatchError:
    """Return what a validator found wrong with a JSON text, in our words."""
    return _refusal(error, _Json(text))


def _refusal(error: ValidationError, parsed: _Json) -> NotJsonError | InvalidBatchError:
    found = _found(error)
    if found[0]["type"] == "json_invalid":
        return NotJsonError(str(found[0].get("ctx", {}).get("error", found[0]["msg"])))
    too_long = [one for one in found if one["type"] == "too_long" and one["loc"] == ("events",)]
    if too_long:
        return TooManyEventsError(_field_errors(too_long, parsed))
    return InvalidBatchError(_field_errors(found, parsed))


# pydantic's type of error -> what we say. The rest keep pydantic's own sentence.
_WORDING = {
    "missing": "Required",
    "string_type": "Expected string",
    "dict_type": "Expected object",
    "list_type": "Expected array",
    "int_type": "Expected integer",
    "float_type": "Expected number",
}


def _field_errors(found: list[ErrorDetails], parsed: _Json) -> tuple[FieldError, ...]:
    by_path: dict[tuple[str | int, ...], FieldError] = {}
    for one in found:
        path = tuple(part for part in one["loc"] if not str(part).startswith(_UNION_BRANCHES))
        # A number that is neither branch of its union is named by the last, the wider one.
        by_path[path] = FieldError(path, _message(one, path, parsed))
    return tuple(by_path.values())


# How pydantic names the branches of a union of numbers; no field of ours begins so.
_UNION_BRANCHES = ("constrained-", "function-after[")


def _message(one: ErrorDetails, path: tuple[str | int, ...], parsed: _Json) -> str:
    kind, context = one["type"], one.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        expected = context["expected"].replace(" or ", ", ")
        return f"Expected {expected}, received {_shown(parsed.at(path))}"
    if kind == "string_pattern_mismatch":
        is_id = context["pattern"] == UUID_PATTERN
        return "Invalid uuid" if is_id else "Must not be empty or hold the character U+0000"
    if kind in {"int_type", "float_type"}:
        return f"Expected number, received {_json_type(parsed.at(path))}"
    wording = _WORDING.get(kind)
    if wording is None:
        return str(one["msg"])
    return wording if kind == "missing" else f"{wording}, received {_json_type(parsed.at(path))}"


def _shown(value: Any) -> str:
    return f"'{value[:40]}'" if isinstance(value, str) else _json_type(value)


def _json_type(value: Any) -> str:
    names = {type(None): "null", bool: "boolean", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "number")


def check_timestamp(event: UsageEvent, now_ms: int, policy: TimestampPolicy) -> FieldError | None:
    """Return what is wrong with the event's time, judged against `now_ms` (epoch milliseconds)."""
    earliest, too_late = time_bounds(now_ms, policy)
    at = datetime.fromisoformat(event["timestamp"])
    if earliest <= at < too_late:
        return None
    if at >= too_late and policy.future_seconds_max is not None:
        return FieldError(
            ("timestamp",), f"More than {policy.future_seconds_max} seconds in the future"
        )
    if at < earliest:
        return FieldError(("timestamp",), f"More than {policy.past_days_max} days in the past")
    return None


def event_slices(value: bytes) -> list[bytes]:
    """Return the original bytes of each event of a record, in order: what a dead letter keeps.

    The record is one event object, or an object with an array under `events`. Raises NotJsonError,
    or InvalidBatchError when it is neither. Slow; only records with something wrong come here.
    """
    try:
        text = value.decode()
        top, _ = value_at(text, skip_space(text, 0))
        _check_holds_events(top)
        slices = array_slices(text, "events") if "events" in top else [text.strip(" \t\n\r")]
    except RecursionError:
        raise NotJsonError("nested too deeply") from None
    except UnicodeDecodeError as error:
        raise NotJsonError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise NotJsonError(str(error)) from None
    return [one.encode() for one in slices]


def _check_holds_events(top: Any) -> None:
    if not isinstance(top, dict):
        raise InvalidBatchError((FieldError((), f"Expected object, received {_json_type(top)}"),))
    if not isinstance(top.get("events", []), list):
        raise InvalidBatchError(
            (FieldError(("events",), f"Expected array, received {_json_type(top['events'])}"),)
        )

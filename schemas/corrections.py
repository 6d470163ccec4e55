"""A correction of the log: an event is voided, or replaced by a new one, by its id.

One record of `usage.raw` holds the void and the new event, so that nothing can apply one half of
it. See docs/adr/0023-a-void-is-an-event-of-the-log.md.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, NotRequired, cast
from uuid import UUID, uuid5

import orjson
from pydantic import ConfigDict, StringConstraints, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from schemas.dead_letter import FORMAT_HEADER, Position, replay_headers
from schemas.events import (
    UUID_PATTERN,
    FieldError,
    InvalidBatchError,
    RequiredText,
    Text,
    UsageEvent,
    refusal_of,
    refuse_non_finite,
    settle,
)

#: Of the header `format` of such a record: an older release must stop at it, not pass it over.
CORRECTION_FORMAT = 2
CORRECTION_HEADER = ("format", str(CORRECTION_FORMAT).encode())
VOID_FEATURE = "void"
# For ever: a void's own event is known again by the id that is made of it.
VOID_NAMESPACE = UUID("5b0f8f0e-3c0b-4a0e-9a43-9c1d5a1f7e52")


@with_config(ConfigDict(strict=True, extra="ignore"))
class Void(TypedDict):
    """Which event is undone, of which customer; who asked for it, and why."""

    customer_id: RequiredText
    event_id: Annotated[str, StringConstraints(pattern=UUID_PATTERN, to_lower=True)]
    reason: RequiredText
    requested_by: NotRequired[Text]


@with_config(ConfigDict(strict=True, extra="ignore", allow_inf_nan=False))
class CorrectionRecord(TypedDict):
    """The value of a record: `void` alone, or with the event that takes the voided one's place."""

    void: Void
    event: NotRequired[UsageEvent]


@dataclass(frozen=True, slots=True)
class Correction:
    """A void, and the event that takes the place of what is voided, where one does."""

    void: Void
    event: UsageEvent | None = None


_RECORD = TypeAdapter(CorrectionRecord)


def void_event_id(customer_id: str, event_id: str) -> str:
    """Return the id of the event that a void is itself: of the customer and what it undoes."""
    return str(uuid5(VOID_NAMESPACE, f"{customer_id}\0{event_id}"))


def event_of(correction: Correction, broker_ms: int) -> UsageEvent:
    """Return what a correction brings to the ledger: its new event, or one that costs nothing.

    So a void stands there like any event, once, however often it comes. `broker_ms`: when Kafka
    took the record, in epoch milliseconds: a void has no other time.
    """
    if correction.event is not None:
        return correction.event
    void = correction.void
    about = {"voids": void["event_id"], "reason": void["reason"]}
    if "requested_by" in void:
        about["requested_by"] = void["requested_by"]
    event = {
        "event_id": void_event_id(void["customer_id"], void["event_id"]),
        "customer_id": void["customer_id"],
        "event_type": "CUSTOM",
        "feature_id": VOID_FEATURE,
        "timestamp": f"{datetime.fromtimestamp(broker_ms // 1_000, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "metadata": about,
    }
    return cast("UsageEvent", event)


def correction_of(void: Void, event: UsageEvent) -> Correction:
    """Return the correction that brought an event to the ledger."""
    own = void_event_id(void["customer_id"], void["event_id"])
    return Correction(void, None if event["event_id"] == own else event)


def is_correction(value: bytes) -> bool:
    """Tell whether the bytes of a letter are a correction's: then it is replayed as one."""
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    return isinstance(found, dict) and "void" in found


def letter_headers(origin: Position, payload: bytes) -> list[tuple[str, bytes]]:
    """Return the headers under which a letter's bytes go to `usage.raw` again, as what they are."""
    header = CORRECTION_HEADER if is_correction(payload) else FORMAT_HEADER
    return replay_headers(origin, header)


def encode_correction(correction: Correction) -> bytes:
    """Return the value of the record."""
    value: dict[str, Any] = {"void": correction.void}
    if correction.event is not None:
        value["event"] = correction.event
    return orjson.dumps(value)


def read_correction(value: bytes) -> Correction:
    """Read and validate the value of a record; the time of its event is not judged.

    Raises NotJsonError, or InvalidBatchError with every field that is wrong.
    """
    refuse_non_finite(value)
    try:
        found = _RECORD.validate_json(value)
    except ValidationError as error:
        raise refusal_of(error, value) from None
    void = found["void"]
    if "event" not in found:
        return Correction(void)
    event = settle(found["event"])
    wrong = []
    # Its record lies in the partition of one customer, and a tenant corrects its own events only.
    if event["customer_id"] != void["customer_id"]:
        wrong.append(FieldError(("event", "customer_id"), "Must be the customer of the void"))
    # The original's row stays: its id is taken for ever.
    if event["event_id"] == void["event_id"]:
        wrong.append(FieldError(("event", "event_id"), "Must differ from the event it replaces"))
    if wrong:
        raise InvalidBatchError(tuple(wrong))
    return Correction(void, event)

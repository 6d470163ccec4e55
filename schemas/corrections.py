"""A correction of the log: an event is voided, or replaced by a new one, by its id.

One record of `usage.raw` holds the void and the new event, so that nothing can apply one half of
it. See docs/adr/0023-a-void-is-an-event-of-the-log.md.
"""

from dataclasses import dataclass
from typing import Annotated, Any, NotRequired

import orjson
from pydantic import ConfigDict, StringConstraints, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

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

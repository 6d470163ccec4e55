"""Whether a row is an event that may be charged, and under which id: pure."""

from dataclasses import dataclass
from uuid import UUID, uuid5

import orjson

from gateway.file_import.rows import Row
from schemas.events import (
    FieldError,
    InvalidBatchError,
    InvalidEvent,
    NotJsonError,
    UsageEvent,
    check_timestamp,
    validate_object,
)
from schemas.timestamps import TimestampPolicy

# Never to change: with another one, a file imported again would be other events.
_NAMESPACE = UUID("0c1f4b8e-6f0e-4d43-9a53-6d8b2f6c6b0d")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that goes no further, and why."""

    row: Row
    errors: tuple[FieldError, ...]

    def as_json(self) -> bytes:
        """Return the line of the reject file."""
        errors = [one.as_json() for one in self.errors]
        text = self.row.event.decode("utf-8", "replace")
        return orjson.dumps({"row": self.row.number, "errors": errors, "event": text}) + b"\n"


def check(row: Row, source: str, now_ms: int, policy: TimestampPolicy) -> UsageEvent | Rejected:
    """Return the valid event of a row; one without an id has one of its source, number and text."""
    try:
        event = _validated(row, source)
    except NotJsonError as error:
        return Rejected(row, (FieldError((), f"Not JSON: {error}"),))
    except InvalidBatchError as error:
        return Rejected(row, error.errors)
    if isinstance(event, InvalidEvent):
        return Rejected(row, event.errors)
    wrong = check_timestamp(event, now_ms, policy)
    return event if wrong is None else Rejected(row, (wrong,))


def _validated(row: Row, source: str) -> UsageEvent | InvalidEvent:
    event = validate_object(row.event)
    if not isinstance(event, InvalidEvent) or not any(
        one.path == ("event_id",) and one.message == "Required" for one in event.errors
    ):
        return event
    name = f"{source}\n{row.number}\n".encode() + row.event
    own = {"event_id": str(uuid5(_NAMESPACE, name.decode("utf-8", "replace")))}
    return validate_object(orjson.dumps(orjson.loads(row.event) | own))

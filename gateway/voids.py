"""What a request to void an event means: pure."""

from typing import Any

import orjson

from gateway.ingest import ForeignCustomerError, InvalidBodyError, details_tree
from schemas.corrections import Correction, read_correction
from schemas.events import FieldError, InvalidBatchError, NotJsonError, check_timestamp
from schemas.timestamps import TimestampPolicy

_FIELDS = ("reason", "requested_by")


def read_void(
    body: bytes,
    customer_id: str,
    event_id: str,
    *,
    now_milliseconds: int,
    policy: TimestampPolicy,
) -> Correction:
    """Return the correction of the caller's event that a body asks for.

    Raises InvalidBodyError with every field that is wrong, ForeignCustomerError.
    """
    try:
        asked: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _wrong(FieldError((), f"Not JSON: {error}")) from None
    if not isinstance(asked, dict):
        raise _wrong(FieldError((), "Expected object"))
    void = {name: asked[name] for name in _FIELDS if name in asked}
    value: dict[str, Any] = {"void": void | {"customer_id": customer_id, "event_id": event_id}}
    if "event" in asked:
        value["event"] = asked["event"]
        if isinstance(asked["event"], dict):
            named = asked["event"].get("customer_id")
            if isinstance(named, str) and named != customer_id:
                raise ForeignCustomerError
    try:
        found = read_correction(orjson.dumps(value))
    except NotJsonError as error:
        raise _wrong(FieldError((), f"Not JSON: {error}")) from None
    except InvalidBatchError as error:
        raise _wrong(*map(_as_asked, error.errors)) from None
    late = found.event and check_timestamp(found.event, now_milliseconds, policy)
    if late:
        raise _wrong(FieldError(("event", *late.path), late.message))
    return found


def _as_asked(error: FieldError) -> FieldError:
    """The void's own fields stand at the top of the body."""
    return FieldError(error.path[1:], error.message) if error.path[:1] == ("void",) else error


def _wrong(*errors: FieldError) -> InvalidBodyError:
    return InvalidBodyError(details_tree(errors))

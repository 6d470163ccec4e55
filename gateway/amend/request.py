"""What asks for a void or a replacement, and the correction that it becomes: pure, no clock."""

from typing import Any, NotRequired

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from gateway.ingest import ForeignCustomerError
from schemas.corrections import (
    Correction,
    Void,
    encode_correction,
    read_correction,
)
from schemas.events import (
    FieldError,
    InvalidBatchError,
    RequiredText,
    Text,
    UsageEvent,
    check_timestamp,
    refusal_of,
    refuse_non_finite,
    settle,
)
from schemas.timestamps import TimestampPolicy

# Unlike an event's, unknown fields are refused: a void that brings an event, or a misspelt one,
# would refund a charge and book nothing in its place.
_closed = with_config(ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))


@_closed
class VoidRequest(TypedDict):
    """Why an event is voided, and who wants it."""

    reason: RequiredText
    requested_by: NotRequired[Text]


@_closed
class ReplaceRequest(VoidRequest):
    """Why an event is replaced, who wants it, and the event that takes its place."""

    event: UsageEvent


_VOID, _REPLACE = TypeAdapter(VoidRequest), TypeAdapter(ReplaceRequest)


def read_void(body: bytes, customer_id: str, event_id: str) -> Correction:
    """Return the void of an event of the customer's that a body asks for.

    Raises NotJsonError, or InvalidBatchError with every field that is wrong.
    """
    refuse_non_finite(body)
    try:
        asked = _VOID.validate_json(body)
    except ValidationError as error:
        raise refusal_of(error, body) from None
    return _correction(asked, customer_id, event_id, None)


def read_replacement(
    body: bytes,
    customer_id: str,
    event_id: str,
    *,
    now_milliseconds: int,
    policy: TimestampPolicy,
) -> Correction:
    """Return the replacement that a body asks for; its event is judged as an ingested one is.

    Raises NotJsonError, InvalidBatchError with every field that is wrong, or ForeignCustomerError.
    """
    refuse_non_finite(body)
    try:
        asked = _REPLACE.validate_json(body)
    except ValidationError as error:
        raise refusal_of(error, body) from None
    event = settle(asked["event"])
    if event["customer_id"] != customer_id:
        raise ForeignCustomerError
    wrong = check_timestamp(event, now_milliseconds, policy)
    if wrong is not None:
        raise InvalidBatchError((FieldError(("event", *wrong.path), wrong.message),))
    return _correction(asked, customer_id, event_id, event)


def _correction(
    asked: VoidRequest, customer_id: str, event_id: str, event: UsageEvent | None
) -> Correction:
    """Return the correction as the streams will read it. Raises InvalidBatchError."""
    void = Void(customer_id=customer_id, event_id=event_id, reason=asked["reason"])
    if "requested_by" in asked:
        void["requested_by"] = asked["requested_by"]
    try:
        return read_correction(encode_correction(Correction(void, event)))
    except InvalidBatchError as error:
        # Callers know no `void`: its fields are the path's and the body's own.
        raise InvalidBatchError(
            tuple(
                FieldError(one.path[1:] if one.path[0] == "void" else one.path, one.message)
                for one in error.errors
            )
        ) from None


def answer(
    correction: Correction, batch_id: str | None, processing_milliseconds: int
) -> dict[str, Any]:
    """Return the body of the answer to a correction that Kafka has acknowledged."""
    event = correction.event
    return {
        "event_id": correction.void["event_id"],
        **({"replaced_by": event["event_id"]} if event else {}),
        "batch_id": batch_id,
        "status": "processing",
        "processing_time_ms": processing_milliseconds,
    }

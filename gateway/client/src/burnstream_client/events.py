"""An event from the caller's words to the bytes that are sent, however often: pure but for its id.

Whatever names an event is fixed here, once, before the first attempt to send it: so that an event
that is sent again is the same event, and is charged once.
"""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict

EventType = Literal[
    "TOKEN_USAGE", "API_CALL", "FEATURE_ACCESS", "IMAGE_GENERATION", "VIDEO_GENERATION", "CUSTOM"
]
EVENT_BYTES_MAX = 900_000  # of JSON; a record of Kafka holds no more


class Fields(TypedDict, total=False):
    """What an event may say besides what `Client.track` names: see docs/produce.md."""

    user_id: str
    team_id: str
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    image_count: int
    image_size: str
    quality: str
    duration_seconds: float
    resolution: str
    unit_type: str
    quantity: float
    metadata: dict[str, Any]
    provider_response: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tracked:
    """An event as it is sent: its id and its JSON."""

    event_id: str
    json: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """An event that is not sent again, and why.

    `status`: the gateway's: 400, 401, 403 or 413. None: the client was closed before there was an
    answer; it may have been taken, and to send the same event again is safe.
    """

    event: dict[str, Any]
    reason: str
    status: int | None


def new_event(
    event_type: EventType,
    feature_id: str,
    *,
    customer_id: str,
    event_id: str | None,
    idempotency_key: str | None,
    timestamp: datetime | str | None,
    fields: Fields,
) -> Tracked:
    """Return the event of these words. Raises TypeError or ValueError where it is no JSON."""
    event: dict[str, Any] = {
        "event_id": str(uuid.uuid4()) if event_id is None else event_id,
        "customer_id": customer_id,
        "event_type": event_type,
        "feature_id": feature_id,
        "timestamp": _timestamp(timestamp),
        **fields,
    }
    if idempotency_key is not None:
        event["idempotency_key"] = idempotency_key
    text = json.dumps(event, allow_nan=False, separators=(",", ":")).encode()
    if len(text) > EVENT_BYTES_MAX:
        raise ValueError(f"an event of {len(text)} bytes; at most {EVENT_BYTES_MAX} are taken")
    return Tracked(event["event_id"], text)


def _timestamp(given: datetime | str | None) -> str:
    if isinstance(given, str):
        return given
    if given is None:
        given = datetime.now(UTC)
    elif given.tzinfo is None:
        raise ValueError("a timestamp must say its time zone: datetime.now(UTC)")
    return given.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

"""What an ingest request means: pure, no I/O, no clock.

A body becomes events and rejections, events become records of `usage.raw` and identities, and what
Redis and Kafka said becomes the answer.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from schemas import cloud_events
from schemas.events import (
    FieldError,
    InvalidBatchError,
    InvalidEvent,
    NotJsonError,
    UsageEvent,
    check_timestamp,
    validate_batch,
    validate_leniently,
)
from schemas.identity import identities_each
from schemas.plain_events import read_plain
from schemas.timestamps import TimestampPolicy, are_timely

# Below the broker's limit on a message, with room for the key, the headers and the batch's head.
RECORD_BYTES_MAX = 900_000
# Values cost time and memory, a hundred bytes and more each, while nobody else is served.
VALUES_MAX = 250_000
_RECORD_HEAD, _RECORD_TAIL = b'{"events":[', b"]}"
_GZIP_WINDOW_BITS = 31  # zlib's word for: a gzip header, the largest window


class InvalidBodyError(Exception):
    """400: the body is no batch of valid events; `details` is a tree by field."""

    def __init__(self, details: dict[str, Any]) -> None:
        super().__init__("invalid body")
        self.details = details


class ForeignCustomerError(Exception):
    """403: an event belongs to another customer than the caller."""

    def __init__(self) -> None:
        super().__init__(
            "Events contain invalid customer_id. "
            "All events must belong to the authenticated customer."
        )


class BodyTooLargeError(Exception):
    """413: the inflated body passes the limit."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """An event that a lenient request leaves out."""

    index: int
    errors: tuple[FieldError, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the entry of `errors[]` in the answer."""
        return {
            "index": self.index,
            "errors": [one.as_json() for one in self.errors],
        }


@dataclass(frozen=True, slots=True)
class Batch:
    """The events of a request that go on, and those left out."""

    events: list[UsageEvent]
    rejections: list[Rejection]


def inflate(body: bytes, bytes_max: int) -> bytes:
    """Return what a gzip body holds, never inflating more than the limit.

    Raises BodyTooLargeError, or InvalidBodyError when it is no single whole gzip member.
    """
    inflater = zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        inflated = inflater.decompress(body, bytes_max + 1)
    except zlib.error:
        raise InvalidBodyError(details_tree([FieldError((), "Not gzip")])) from None
    if len(inflated) > bytes_max:
        raise BodyTooLargeError
    if not inflater.eof or inflater.unused_data:
        raise InvalidBodyError(details_tree([FieldError((), "Not one whole gzip member")]))
    return inflated


def holds_too_many_values(body: bytes) -> bool:
    """Return whether a JSON text has so many commas and brackets that it must not be read."""
    if len(body) <= VALUES_MAX:
        return False
    # No fewer than its values, found quickly; those in texts count, too.
    return len(body) - len(body.translate(None, b",[{")) > VALUES_MAX


def is_lenient(prefer: str) -> bool:
    """Return whether a `Prefer` header asks to take the good events of a batch."""
    return any(
        part.split(";")[0].replace(" ", "").replace('"', "").lower() == "handling=lenient"
        for part in prefer.split(",")
    )


def read_batch(
    body: bytes,
    customer_id: str,
    *,
    lenient: bool,
    now_milliseconds: int,
    policy: TimestampPolicy,
) -> Batch:
    """Return the events of a body, validated once, by the caller's customer.

    Raises InvalidBodyError (with every field that is wrong) or ForeignCustomerError.
    """
    batch = _read_plain(body, now_milliseconds, policy)
    if batch is None:
        batch = _apply_policy(
            _read(body, lenient=lenient), now_milliseconds, policy, lenient=lenient
        )
    return _of_customer(batch, customer_id)


def read_cloud_events(
    body: bytes,
    customer_id: str,
    *,
    mode: cloud_events.Mode,
    headers: Mapping[str, str],
    lenient: bool,
    now_milliseconds: int,
    policy: TimestampPolicy,
) -> Batch:
    """Return the events of a body of CloudEvents. Raises as `read_batch` does."""
    with _told_of_the_body():
        batch = _sorted_out(cloud_events.validate_http(body, mode, headers))
    if batch.rejections and not lenient:
        raise InvalidBodyError(details_tree(_errors_of(batch.rejections)))
    batch = _apply_policy(_require_events(batch), now_milliseconds, policy, lenient=lenient)
    return _of_customer(batch, customer_id)


def _of_customer(batch: Batch, customer_id: str) -> Batch:
    if any(event["customer_id"] != customer_id for event in batch.events):
        raise ForeignCustomerError
    return batch


def _read_plain(body: bytes, now_milliseconds: int, policy: TimestampPolicy) -> Batch | None:
    """Return the events of a body that has nothing unusual about it, and nothing wrong."""
    plain = read_plain([body])
    if plain is None or not are_timely(plain.moments, now_milliseconds, now_milliseconds, policy):
        return None
    (events,) = plain.records
    return Batch(events, []) if isinstance(events, list) else None  # one event is no batch


def _read(body: bytes, *, lenient: bool) -> Batch:
    with _told_of_the_body():
        if not lenient:
            return Batch(validate_batch(body), [])
        found = validate_leniently(body)
    return _require_events(_sorted_out(found))


@contextmanager
def _told_of_the_body() -> Iterator[None]:
    """Answer what is wrong with a body as a whole by its tree of fields."""
    try:
        yield
    except NotJsonError as error:
        wrong = FieldError((), f"Not JSON: {error}")
        raise InvalidBodyError(details_tree([wrong])) from None
    except InvalidBatchError as error:
        raise InvalidBodyError(details_tree(error.errors)) from None


def _sorted_out(found: Sequence[UsageEvent | InvalidEvent]) -> Batch:
    batch = Batch([], [])
    for index, one in enumerate(found):
        if isinstance(one, InvalidEvent):
            batch.rejections.append(Rejection(index, one.errors))
        else:
            batch.events.append(one)
    return batch


def _apply_policy(
    batch: Batch, now_milliseconds: int, policy: TimestampPolicy, *, lenient: bool
) -> Batch:
    """Refuse (or leave out) events whose own time lies too far from now."""
    wrong = [
        (at, error)
        for at, event in enumerate(batch.events)
        if (error := check_timestamp(event, now_milliseconds, policy)) is not None
    ]
    if not wrong:
        return batch
    if not lenient:
        raise InvalidBodyError(
            details_tree([FieldError(("events", at, *e.path), e.message) for at, e in wrong])
        )
    places = _places_of_events(batch)
    rejections = [*batch.rejections, *(Rejection(places[at], (error,)) for at, error in wrong)]
    left_out = {at for at, _ in wrong}
    events = [event for at, event in enumerate(batch.events) if at not in left_out]
    rejections.sort(key=lambda rejection: rejection.index)
    return _require_events(Batch(events, rejections))


def _places_of_events(batch: Batch) -> list[int]:
    """Return each event's index in the body, where rejected ones took places, too."""
    taken = {rejection.index for rejection in batch.rejections}
    total = len(batch.events) + len(taken)
    return [index for index in range(total) if index not in taken]


def _require_events(batch: Batch) -> Batch:
    if batch.events:
        return batch
    raise InvalidBodyError(details_tree(_errors_of(batch.rejections)))


def _errors_of(rejections: Sequence[Rejection]) -> list[FieldError]:
    return [
        FieldError(("events", rejection.index, *error.path), error.message)
        for rejection in rejections
        for error in rejection.errors
    ]


def details_tree(errors: Sequence[FieldError]) -> dict[str, Any]:
    """Return `{"_errors": [...], child: {...}}`, children by field name or index as text."""
    root: dict[str, Any] = {"_errors": []}
    for error in errors:
        node = root
        for part in error.path:
            if part == "_errors":  # a field of that name: no room for a child beside the messages
                break
            node = node.setdefault(str(part), {"_errors": []})
        node["_errors"].append(error.message)
    return root


def to_records(events: Sequence[UsageEvent], bytes_max: int = RECORD_BYTES_MAX) -> list[bytes]:
    """Return values of `usage.raw` that hold the events in order: one, or several if too large."""
    whole = orjson.dumps({"events": events})
    if len(whole) <= bytes_max:
        return [whole]
    records: list[bytes] = []
    held: list[bytes] = []
    size = len(_RECORD_HEAD) + len(_RECORD_TAIL)
    room = bytes_max - size
    for event in events:
        text = orjson.dumps(event)
        if held and len(text) + 1 > room:
            records.append(_RECORD_HEAD + b",".join(held) + _RECORD_TAIL)
            held, room = [], bytes_max - size
        held.append(text)
        room -= len(text) + 1
    records.append(_RECORD_HEAD + b",".join(held) + _RECORD_TAIL)
    return records


def advice_identities(events: Sequence[UsageEvent]) -> list[bytes]:
    """Return the 16 bytes by which each event is remembered for advice: its key's, else its id's.

    A new key with a known id is accepted at the door; the streams decide.
    """
    return [own[-1] for own in identities_each(events)]


def count_duplicates(identities: Sequence[bytes], remembered: Sequence[bool]) -> int:
    """Return how many events were remembered, or repeat an earlier one of the same batch."""
    fresh = {one for one, known in zip(identities, remembered, strict=True) if not known}
    return len(identities) - len(fresh)


def answer(
    batch: Batch, duplicates: int, batch_id: str | None, processing_milliseconds: int
) -> tuple[int, dict[str, Any]]:
    """Return status and body of the answer to a batch that Kafka has acknowledged."""
    rejected = {"errors": [one.as_json() for one in batch.rejections]} if batch.rejections else {}
    accepted = len(batch.events) - duplicates
    if accepted == 0:
        return 200, {
            "accepted": 0,
            "rejected": len(batch.rejections),
            "duplicates": duplicates,
            "batch_id": None,
            "status": "all_duplicates",
            "message": "All events were duplicates",
            **rejected,
        }
    return 202, {
        "accepted": accepted,
        "rejected": len(batch.rejections),
        "duplicates": duplicates,
        "batch_id": batch_id,
        "status": "processing",
        "processing_time_ms": processing_milliseconds,
        **rejected,
    }


def summary(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the log line that tells of an answered batch."""
    return {
        "batchId": body["batch_id"],
        "accepted": body["accepted"],
        "duplicates": body["duplicates"],
    }

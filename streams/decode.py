"""From the bytes of a raw record to its events: valid ones, and letters for those that are not."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

import orjson
from msgspec import Struct

from schemas.cloud_events import TELLING_HEADERS, marks_cloud_event, read_kafka
from schemas.corrections import CORRECTION_HEADER, Void, event_of, read_correction
from schemas.dead_letter import REPLAY_OF_HEADER, Position, Reason
from schemas.events import (
    FieldError,
    InvalidBatchError,
    InvalidEvent,
    NotJsonError,
    TooManyEventsError,
    UsageEvent,
    check_timestamp,
    event_slices,
    validate_each,
)
from schemas.plain_events import read_plain
from schemas.timestamps import TimestampPolicy, are_timely, time_bounds

MESSAGE_LENGTH_MAX = 2_000
PLAIN_RECORDS = 20
# What an entry adds to the bytes of its event, at most about: its names, price ids, its share of
# the headers. A batch is closed by this estimate, before anything is encoded.
ENTRY_OVERHEAD_BYTES = 400
_FORMAT, _CORRECTION_FORMAT = CORRECTION_HEADER
_TELLING_HEADERS = TELLING_HEADERS | {REPLAY_OF_HEADER, _FORMAT}
_CLOUD_EVENT = "a CloudEvent"  # no position reads like these
_CORRECTION = "a correction"


@dataclass(frozen=True, slots=True)
class Letter:
    """Why an event, or a record as a whole, becomes a dead letter."""

    reason: Reason
    message: str
    readable: Mapping[str, str] = field(default_factory=dict)
    is_whole_record: bool = False


class DecodedRecord(Struct, frozen=True):
    """One record of `usage.raw` and what it holds, in the order of its events.

    `value` of a CloudEvent: the event in our own form, so that a replay of its letter is charged.
    `void` of a correction: what its one event takes the place of. `first_index`: of the first event
    here, where one is taken out of its record; then `value` holds that one alone.
    """

    offset: int
    broker_ms: int
    key: bytes | None
    value: bytes
    events: Sequence[UsageEvent | Letter]
    replay_of: str | None = None
    void: Void | None = None
    first_index: int = 0

    @property
    def is_judged(self) -> bool:
        """Whether `seen` has a say; of replays and corrections Postgres alone decides."""
        return self.replay_of is None and self.void is None

    def payload(self, index: int) -> bytes:
        """Return the original bytes of an event; slow, for events that become letters."""
        at = index - self.first_index
        event = self.events[at]
        if self.void is not None or (isinstance(event, Letter) and event.is_whole_record):
            return self.value
        slices = _slices(self.value)
        if len(slices) == len(self.events):
            return slices[at]
        # A record that two JSON readers take differently: what was understood is kept.
        return self.value if isinstance(event, Letter) else orjson.dumps(event)


@lru_cache(maxsize=1)  # one record after the other, and each of its letters asks
def _slices(value: bytes) -> Sequence[bytes]:
    try:
        return event_slices(value)
    except (NotJsonError, InvalidBatchError):
        return []


def decode_records(records: Sequence[Any], policy: TimestampPolicy) -> list[DecodedRecord]:
    """Read records (aiokafka's) of which none is quarantined."""
    decoded: list[DecodedRecord] = []
    for start in range(0, len(records), PLAIN_RECORDS):
        chunk = records[start : start + PLAIN_RECORDS]
        # One unusual event among them has so many records read one by one; so have large ones.
        found = _decode_plain(chunk, policy)
        if found is None:
            for record in chunk:
                decoded += _decode_plain([record], policy) or [
                    decode_record(record, record.timestamp, policy)
                ]
        else:
            decoded += found
    return decoded


def _decode_plain(records: Sequence[Any], policy: TimestampPolicy) -> list[DecodedRecord] | None:
    plain = read_plain([record.value or b"" for record in records])
    if plain is None:
        return None
    broker_times = [record.timestamp for record in records]
    if not are_timely(plain.moments, min(broker_times), max(broker_times), policy):
        return None
    told = [told_by(headers) if (headers := record.headers) else None for record in records]
    if _CLOUD_EVENT in told or _CORRECTION in told:
        return None
    return [
        DecodedRecord(record.offset, broker_ms, record.key, record.value, events, replay_of)
        for record, broker_ms, events, replay_of in zip(
            records, broker_times, plain.records, told, strict=True
        )
    ]


def decode_record(
    record: Any, broker_ms: int, policy: TimestampPolicy, quarantined: str | None = None
) -> DecodedRecord:
    """Read one record (aiokafka's); `quarantined` is the operator's reason to set it aside."""
    value: bytes = record.value or b""
    told = told_by(record.headers) if record.headers else None
    if told is _CLOUD_EVENT:
        if quarantined is None:
            return _decode_cloud_event(record, value, broker_ms, policy)
        told = None
    if told is _CORRECTION:
        told = _replay_of(record.headers)
        if quarantined is None:
            return _decode_correction(record, broker_ms, policy, told)
    events = _decode_events(value, broker_ms, policy, quarantined)
    return DecodedRecord(record.offset, broker_ms, record.key, value, events, told)


def _decode_correction(
    record: Any, broker_ms: int, policy: TimestampPolicy, replay_of: str | None
) -> DecodedRecord:
    """A letter of a correction is of the whole record: no half of it counts."""
    value: bytes = record.value or b""
    event: UsageEvent | Letter
    void = None
    try:
        found = read_correction(value)
    except NotJsonError as error:
        event = _whole(Reason.NOT_JSON, f"Correction: {error}")
    except InvalidBatchError as error:
        event = _whole(Reason.BAD_SCHEMA, f"Correction: {error}")
    else:
        void, event = found.void, event_of(found, broker_ms)
        wrong = check_timestamp(event, broker_ms, policy)
        if wrong is not None:
            reason = Reason.TIMESTAMP_OUT_OF_RANGE
            event = Letter(reason, _sentence((wrong,)), readable_of(event), is_whole_record=True)
    return DecodedRecord(record.offset, broker_ms, record.key, value, [event], replay_of, void)


def _decode_cloud_event(
    record: Any, value: bytes, broker_ms: int, policy: TimestampPolicy
) -> DecodedRecord:
    events: Sequence[UsageEvent | Letter]
    try:
        value = read_kafka(value, record.headers)
    except NotJsonError as error:
        events = [_whole(Reason.NOT_JSON, f"CloudEvent: {error}")]
    except InvalidBatchError as error:
        events = [_whole(Reason.BAD_SCHEMA, f"CloudEvent: {error}")]
    else:
        events = _decode_events(value, broker_ms, policy, None)
    return DecodedRecord(record.offset, broker_ms, record.key, value, events)


def _decode_events(
    value: bytes, broker_ms: int, policy: TimestampPolicy, quarantined: str | None
) -> Sequence[UsageEvent | Letter]:
    if quarantined is not None:
        return [_whole(Reason.QUARANTINED, quarantined)]
    try:
        found = validate_each(value)
    except NotJsonError as error:
        return [_whole(Reason.NOT_JSON, str(error))]
    except TooManyEventsError as error:
        return [_whole(Reason.TOO_MANY_EVENTS, str(error))]
    except InvalidBatchError as error:
        return [_whole(Reason.BAD_SCHEMA, str(error))]
    earliest, too_late = time_bounds(broker_ms, policy)
    return [
        event
        if isinstance(event, dict)
        and earliest <= datetime.fromisoformat(event["timestamp"]) < too_late
        else _letter(event, broker_ms, policy)
        for event in found
    ]


def _letter(event: UsageEvent | InvalidEvent, broker_ms: int, policy: TimestampPolicy) -> Letter:
    if isinstance(event, InvalidEvent):
        return Letter(Reason.BAD_SCHEMA, _sentence(event.errors), event.readable)
    wrong = check_timestamp(event, broker_ms, policy)
    if wrong is None:
        raise AssertionError(f"nothing is wrong with {event['timestamp']}")
    return Letter(Reason.TIMESTAMP_OUT_OF_RANGE, _sentence((wrong,)), readable_of(event))


def readable_of(event: UsageEvent) -> dict[str, str]:
    """Return what a dead letter shows of an event beside its bytes."""
    names = ("customer_id", "event_id", "idempotency_key", "provider", "model")
    fields = cast("Mapping[str, str]", event)
    return {name: fields[name] for name in names if name in fields}


def _whole(reason: Reason, message: str) -> Letter:
    return Letter(reason, message[:MESSAGE_LENGTH_MAX], {}, is_whole_record=True)


def _sentence(errors: Sequence[FieldError]) -> str:
    text = "; ".join(f"{'.'.join(map(str, e.path)) or '(event)'}: {e.message}" for e in errors)
    return text[:MESSAGE_LENGTH_MAX]


def told_by(headers: Sequence[tuple[str, bytes | None]]) -> str | None:
    """Return what headers tell of a record, or nothing.

    `_CORRECTION`, the origin of a replay, or `_CLOUD_EVENT`, the first of these that is there: a
    replay is in our own form.
    """
    origin = told = None
    for name, value in headers:
        if name in _TELLING_HEADERS and value is not None:
            if name == _FORMAT:
                if value == _CORRECTION_FORMAT:
                    return _CORRECTION
            elif name == REPLAY_OF_HEADER:
                origin = origin or _position(value)
            elif marks_cloud_event(name, value):
                told = _CLOUD_EVENT
    return origin or told


def _replay_of(headers: Sequence[tuple[str, bytes | None]]) -> str | None:
    """Return the letter that a record replays."""
    found = (_position(value) for name, value in headers if name == REPLAY_OF_HEADER and value)
    return next((one for one in found if one is not None), None)


def _position(value: bytes) -> str | None:
    """What is no position is nobody's replay."""
    with suppress(ValueError):  # UnicodeDecodeError is one
        return str(Position.parse(value.decode()))
    return None


def parts(
    records: Sequence[DecodedRecord], events_max: int, bytes_max: int
) -> Iterator[list[DecodedRecord]]:
    """Cut a run into what one rated batch each covers: whole records, by events and by bytes."""
    part: list[DecodedRecord] = []
    events = size = 0
    for record in records:
        count = len(record.events)
        estimate = len(record.value) * 3 // 2 + count * ENTRY_OVERHEAD_BYTES
        if part and (events + count > events_max or size + estimate > bytes_max):
            yield part
            part, events, size = [], 0, 0
        part.append(record)
        events += count
        size += estimate
    if part:
        yield part


def run_length(records: Sequence[DecodedRecord]) -> list[tuple[int, int]]:
    """Return the broker times of records as (offset, ms): from that offset on it was that."""
    times: list[tuple[int, int]] = []
    for record in records:
        if not times or times[-1][1] != record.broker_ms:
            times.append((record.offset, record.broker_ms))
    return times

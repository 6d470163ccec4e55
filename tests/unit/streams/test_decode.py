from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from schemas.corrections import CORRECTION_HEADER
from schemas.dead_letter import Reason
from schemas.timestamps import TimestampPolicy
from streams.decode import DecodedRecord, Letter, decode_record, decode_records, parts
from tests.unit.streams.raw_records import NO_LIMIT, NOW_MS, RawRecord, decoded, event, raw


def letters(record: DecodedRecord) -> list[tuple[Reason, bool]]:
    return [(e.reason, e.is_whole_record) for e in record.events if isinstance(e, Letter)]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Reason.NOT_JSON),
        (None, Reason.NOT_JSON),
        (b"\xff\xfe", Reason.NOT_JSON),
        (b"[1]", Reason.BAD_SCHEMA),
        (b'{"events": 5}', Reason.BAD_SCHEMA),
        (b'{"events": [' + b"1," * 1000 + b"1]}", Reason.TOO_MANY_EVENTS),
    ],
)
def test_a_record_that_holds_no_events_is_one_letter_with_its_bytes(
    value: bytes | None, reason: Reason
) -> None:
    """Bytes that are no list of events become one dead letter that keeps every byte."""
    record = decode_record(RawRecord(7, value), NOW_MS, NO_LIMIT)
    assert letters(record) == [(reason, True)]
    assert record.payload(0) == (value or b"")


def test_one_bad_event_does_not_take_the_others_along() -> None:
    """Each event of a record is judged by itself, and its letter keeps its own bytes."""
    value = b'{"events": [%s, {"event_id": 5,  "customer_id":"c"}]}' % orjson.dumps(event(1))
    record = decode_record(RawRecord(7, value), NOW_MS, NO_LIMIT)
    good, bad = record.events
    assert isinstance(good, dict)
    assert good["input_tokens"] == 1000
    assert isinstance(bad, Letter)
    assert (bad.reason, bad.readable) == (Reason.BAD_SCHEMA, {"customer_id": "c"})
    assert record.payload(1) == b'{"event_id": 5,  "customer_id":"c"}'


def test_an_events_time_is_judged_by_the_brokers_time() -> None:
    """The limits on an event's own time count from when Kafka took the record."""
    policy = TimestampPolicy(past_days_max=1, future_seconds_max=60)
    ms = 1_795_687_200_000  # 2026-11-26T10:00:00Z
    record = raw(0, event(1, timestamp="2026-11-26T10:00:30Z"), event(2))
    found = decode_record(record, ms, policy)
    assert isinstance(found.events[0], dict)
    assert letters(found) == [(Reason.TIMESTAMP_OUT_OF_RANGE, False)]


def test_a_quarantined_record_is_one_letter_whatever_it_holds() -> None:
    """A record that an operator set aside is not even parsed."""
    found = decode_record(raw(3, event(1)), NOW_MS, NO_LIMIT, "it stops the worker")
    assert letters(found) == [(Reason.QUARANTINED, True)]


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ((), None),
        ((("replay-of", b"1:0:42:3"),), "1:0:42:3"),
        ((("replay-of", b"nonsense"),), None),
        ((("replay-of", b"\xff"),), None),
        ((("other", b"1:0:42:3"),), None),
    ],
)
def test_a_replay_names_where_it_comes_from(
    headers: Sequence[tuple[str, bytes]], origin: str | None
) -> None:
    """Only a header that is a position makes a record a replay."""
    [record] = decoded(raw(0, event(1), headers=headers))
    assert record.replay_of == origin


def test_parts_hold_whole_records_and_close_by_events_and_bytes() -> None:
    """A rated batch covers whole records, and one record that is too much is a part alone."""
    records = decoded(*(raw(offset, event(offset), event(100 + offset)) for offset in range(5)))
    by_events = [[r.offset for r in part] for part in parts(records, 4, 1 << 20)]
    assert by_events == [[0, 1], [2, 3], [4]]
    by_bytes = [[r.offset for r in part] for part in parts(records, 1_000, 1)]
    assert by_bytes == [[0], [1], [2], [3], [4]]


def test_a_part_of_many_tiny_bad_events_stays_small() -> None:
    """Two bytes of input that become a dead letter each count as what they will take."""
    tiny: Any = RawRecord(0, b'{"events":[%s]}' % b",".join([b"1"] * 1000))
    records = decoded(*(RawRecord(offset, tiny.value) for offset in range(10)))
    assert [len(part) for part in parts(records, 1 << 20, 1 << 20)] == [2] * 5


VOID = {"customer_id": "cust-1", "event_id": event(9)["event_id"], "reason": "mistaken"}


def correction(value: Any, *more: tuple[str, bytes]) -> DecodedRecord:
    headers = [CORRECTION_HEADER, *more]
    return decode_record(RawRecord(7, orjson.dumps(value), headers=headers), NOW_MS, NO_LIMIT)


def test_a_correction_is_one_event_that_takes_the_place_of_another() -> None:
    """With the header alone; Postgres decides of it, not what was seen; replays are known."""
    found = correction({"void": VOID, "event": event(1)}, ("replay-of", b"1:2:3:4"))
    assert found.events == [event(1)]
    assert found.void == VOID
    assert found.replay_of == "1:2:3:4"
    assert not found.is_judged
    (own,) = correction({"void": VOID}).events
    assert isinstance(own, dict)
    assert own["feature_id"] == "void"
    without = decode_record(RawRecord(7, orjson.dumps({"void": VOID})), NOW_MS, NO_LIMIT)
    assert (letters(without), without.void) == ([(Reason.BAD_SCHEMA, False)], None)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"void": VOID, "event": {"event_id": "x"}}, Reason.BAD_SCHEMA),
        (event(1), Reason.BAD_SCHEMA),
    ],
)
def test_a_letter_of_a_correction_keeps_all_of_it(value: Any, reason: Reason) -> None:
    """No half of it counts."""
    found = correction(value)
    assert letters(found) == [(reason, True)]
    assert found.payload(0) == orjson.dumps(value)


def test_corrections_are_read_among_plain_records() -> None:
    """The quick reader leaves them to the other one, and whatever else has that header."""
    plain = [RawRecord(n, orjson.dumps(event(n))) for n in (1, 2)]
    value = orjson.dumps({"void": VOID, "event": event(3)})
    voiding = RawRecord(3, value, headers=[CORRECTION_HEADER])
    odd = RawRecord(4, orjson.dumps(event(4)), headers=[CORRECTION_HEADER])
    found = decode_records([*plain, voiding, odd], NO_LIMIT)
    assert [one.void for one in found] == [None, None, VOID, None]
    assert [len(letters(one)) for one in found] == [0, 0, 0, 1]

"""Records that carry CloudEvents, as the streams read them."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from schemas.cloud_events import usage_event_id
from schemas.dead_letter import Position, Reason, replay_headers
from schemas.events import validate_each
from schemas.identity import identities_each
from streams.decode import DecodedRecord, Letter, decode_record, decode_records
from tests.unit.schemas.test_cloud_events import CLOUD_EVENT, DATA, USAGE_EVENT, binary
from tests.unit.streams.raw_records import NO_LIMIT, NOW_MS, RawRecord, event, raw

STRUCTURED = (("content-type", b"application/cloudevents+json; charset=utf-8"),)
BINARY = tuple((name, value.encode()) for name, value in binary("ce_").items())
WHOLE = orjson.dumps(CLOUD_EVENT)


def read(value: bytes, headers: Sequence[tuple[str, bytes]]) -> DecodedRecord:
    [record] = decode_records([RawRecord(0, value, headers=headers)], NO_LIMIT)
    return record


@pytest.mark.parametrize(("value", "headers"), [(WHOLE, STRUCTURED), (DATA, BINARY)])
def test_a_cloud_event_is_read_among_others(
    value: bytes, headers: Sequence[tuple[str, bytes]]
) -> None:
    """Records before and behind a CloudEvent are read as ever."""
    records = [raw(0, event(1)), RawRecord(1, value, headers=headers), raw(2, event(2), event(3))]
    found = decode_records(records, NO_LIMIT)
    assert [list(one.events) for one in found] == [
        [event(1)],
        [USAGE_EVENT],
        [event(2), event(3)],
    ]


def test_data_that_is_an_event_of_ours_is_still_a_cloud_event() -> None:
    """What the quick reader would take is read by what the headers say."""
    [letter] = read(orjson.dumps(event(1)), BINARY).events
    assert isinstance(letter, Letter)
    assert (letter.reason, letter.is_whole_record) == (Reason.BAD_SCHEMA, True)
    assert "data.event_id: Not in a CloudEvent" in letter.message


@pytest.mark.parametrize(
    ("value", "reason"),
    [(b"{", Reason.NOT_JSON), (b"[]", Reason.BAD_SCHEMA), (b'{"id": 1}', Reason.BAD_SCHEMA)],
)
def test_what_is_no_cloud_event_is_a_letter_with_its_bytes(value: bytes, reason: Reason) -> None:
    """A record that claims to be one and is none is kept whole, with the reason."""
    record = read(value, STRUCTURED)
    [letter] = record.events
    assert isinstance(letter, Letter)
    assert (letter.reason, letter.is_whole_record) == (reason, True)
    assert letter.message.startswith("CloudEvent: ")
    assert record.payload(0) == value


@pytest.mark.parametrize("events", [[], [{}, {}], {"1": 2}])
def test_an_attribute_that_looks_like_a_batch_is_refused(events: object) -> None:
    """An audit that reads no headers would count its events; a letter of all bytes it accepts."""
    value = orjson.dumps(CLOUD_EVENT | {"events": events})
    record = read(value, STRUCTURED)
    [letter] = record.events
    assert isinstance(letter, Letter)
    assert (letter.reason, record.payload(0)) == (Reason.BAD_SCHEMA, value)
    assert letter.message == "CloudEvent: (top level): Expected no list and no object outside data"


def test_a_letter_of_a_cloud_event_can_be_replayed() -> None:
    """Its payload is the event in our own form: a replay has no headers of CloudEvents."""
    bad = read(orjson.dumps(CLOUD_EVENT | {"subject": ""}), STRUCTURED)
    assert isinstance(bad.events[0], Letter)
    record = read(WHOLE, STRUCTURED)
    origin = Position(0, 0, 0, 0)
    again = read(record.payload(0), replay_headers(origin))
    assert (list(again.events), again.replay_of) == ([USAGE_EVENT], str(origin))


def test_an_event_that_is_not_valid_tells_who_it_is_of() -> None:
    """A whole CloudEvent that is no usage event becomes a letter of its customer."""
    record = read(orjson.dumps(CLOUD_EVENT | {"type": "order"}), STRUCTURED)
    [letter] = record.events
    assert isinstance(letter, Letter)
    assert (letter.reason, letter.is_whole_record) == (Reason.BAD_SCHEMA, False)
    assert letter.readable["customer_id"] == "cust-1"
    assert letter.readable["event_id"] == usage_event_id("/shops/berlin", "Order 4711, line 2")
    assert orjson.loads(record.payload(0))["event_type"] == "ORDER"


def test_a_quarantined_cloud_event_is_not_parsed() -> None:
    """An operator's word comes first; the bytes are kept as they came."""
    record = decode_record(RawRecord(0, WHOLE, headers=STRUCTURED), NOW_MS, NO_LIMIT, "poison")
    assert [type(one) for one in record.events] == [Letter]
    assert (record.payload(0), record.replay_of) == (WHOLE, None)


@pytest.mark.parametrize(
    "headers",
    [
        (("content-type", b"application/json"),),
        (("content-type", b""), ("ce_id", b"5"), ("replay-of", b"nonsense")),
        (("format", b"1"), ("traceparent", b"00-1-2-01")),
    ],
)
def test_other_headers_change_nothing(headers: Any) -> None:
    """A producer's own JSON is read the quick way whatever headers it has."""
    assert list(read(orjson.dumps(event(1)), headers).events) == [event(1)]


def test_one_cloud_event_has_one_identity_however_it_comes() -> None:
    """Both identities of the event are the same in every mode, so it is charged once."""
    found = [
        identities_each([one for one in read(value, headers).events if isinstance(one, dict)])
        for value, headers in ((WHOLE, STRUCTURED), (DATA, BINARY))
    ]
    ours = [one for one in validate_each(orjson.dumps(USAGE_EVENT)) if isinstance(one, dict)]
    assert found == [identities_each(ours)] * 2
    assert len(found[0][0]) == 2

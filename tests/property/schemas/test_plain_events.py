"""The quick reader takes a part of what is valid, and reads it as the other one does."""

import json
from datetime import datetime
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.events import validate_each
from schemas.plain_events import read_plain

EVENT = {
    "event_id": "550e8400-e29b-41d4-a716-446655440001",
    "customer_id": "c",
    "event_type": "TOKEN_USAGE",
    "feature_id": "f",
    "timestamp": "2025-01-17T14:30:00.125Z",
}
FULL = EVENT | {
    "user_id": "u",
    "team_id": "",
    "provider": "OPENAI",
    "model": "gpt-4",
    "input_tokens": 1_000,
    "output_tokens": 0,
    "image_count": 1,
    "image_size": "1024x1024",
    "quality": "hd",
    "duration_seconds": 1.5,
    "resolution": "720p",
    "unit_type": "page",
    "quantity": 3,
    "metadata": {"a": [1, {"b": None}], "c": "x"},
    "idempotency_key": "k",
}
HEAD = json.dumps(EVENT).encode()[:-1]
NUMBERS = [0, 1, -1, 5.0, 0.5, -0.0, 10**12, 10**12 + 1, 10**15, 10**15 + 1, 10**15 + 0.5, 1e15]
TEXTS = ["", "x", "é", "\0", "\n", "\ud800", "{", "[", '"', "\\", "😀" * 255, "x" * 255, "x" * 256]
TIMES = [
    "2025-01-17T14:30Z",
    "2025-01-17T14:30:00Z",
    "2024-02-29T23:59:59.123456789Z",
    "2025-02-29T00:00:00Z",
    "0999-12-31T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "2025-01-17T24:00:00Z",
    "2025-01-17T23:59:60Z",
    "2025-01-17 14:30:00Z",
    "2025-W03-5T14:30:00Z",
    "2025-01-17T14:30:00,5Z",
    "2025-01-17T14:30:00+00:00",
    "2025-01-17",
    "٢025-01-17T14:30:00Z",
]
IDS = ["550E8400-E29B-41D4-A716-446655440001", "550e8400e29b41d4a716446655440001", "x" * 36, "é"]
ODD: list[Any] = [None, True, [], {}, {"a": 1}, [{}], "1", *NUMBERS, *TEXTS, *TIMES, *IDS, 2**64]
KEYS = [*FULL, "provider_response", "events", "unknown"]
# Put into the text itself: what no JSON writer makes.
PIECES = [
    b"NaN",
    b"1e999",
    b"01",
    b"1.",
    b"\xff",
    b"\0",
    b"\x1f",
    b"{",
    b"}",
    b",",
    b"[",
    b"\\u0000",
]
PIECES += [b'"events":[', b'"x":[[[[', b'"event_id":1,', b'"input_tokens":1e2', b" ", b"\n"]

odd_events = st.builds(
    lambda base, changes, missing: {
        name: value for name, value in (base | changes).items() if name not in missing
    },
    st.sampled_from([EVENT, FULL]),
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(ODD), max_size=2),
    st.sets(st.sampled_from(KEYS), max_size=1),
)
events = odd_events | st.sampled_from([EVENT, FULL])
texts = st.builds(
    lambda record, is_ascii: json.dumps(record, ensure_ascii=is_ascii).encode(
        "utf-8", "surrogatepass"
    ),
    events
    | st.lists(events, max_size=3).map(lambda found: {"events": found})
    | st.lists(events, max_size=2).map(lambda found: {"events": found, "unknown": 1}),
    st.booleans(),
)


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """A record, mostly valid, sometimes with something put into its text."""
    text = draw(texts)
    if draw(st.booleans()):
        return text
    at = draw(st.integers(0, len(text)))
    return text[:at] + draw(st.sampled_from(PIECES)) + text[at + draw(st.integers(0, 2)) :]


def _dumped(found: Any) -> bytes:
    """As text: 5 is not 5.0. The order of fields does not matter."""
    return orjson.dumps(found, option=orjson.OPT_SORT_KEYS)


@given(st.lists(records(), min_size=1, max_size=3))
@example([b'{"events":[],"events":[%b]}' % json.dumps(EVENT).encode()])
@example([HEAD + b',"x":' + b"9" * 5_000 + b"}"])
@example([HEAD + b',"x":' + b"[" * 300 + b"]" * 300 + b"}"])
@example([HEAD + b',"x":' + b"[" * 100_000])
def test_what_is_plain_is_read_as_the_other_reader_does(values: list[bytes]) -> None:
    """Same events, same types, each moment its own; what is not valid is never taken."""
    found = read_plain(values)

    if found is None:
        return
    expected = [validate_each(value) for value in values]
    every = [event for record in expected for event in record if isinstance(event, dict)]
    assert len(every) == sum(map(len, expected))
    assert _dumped(found.records) == _dumped(expected)
    assert found.moments == [datetime.fromisoformat(event["timestamp"]) for event in every]


@pytest.mark.parametrize(
    "record",
    [
        EVENT,
        FULL,
        EVENT | {"unknown": "x", "event_id": IDS[0], "idempotency_key": ""},
        EVENT | {"feature_id": "é" * 255},
        {"events": [EVENT, FULL, EVENT | {"timestamp": "2024-02-29T00:00Z"}]},
    ],
)
def test_usual_records_are_plain(record: dict[str, Any]) -> None:
    """The quick way is taken where it may be."""
    value = json.dumps(record, ensure_ascii=False).encode()
    found = read_plain([value, value])

    assert found is not None
    assert list(map(list, found.records)) == [validate_each(value)] * 2

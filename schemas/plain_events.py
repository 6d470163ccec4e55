"""The quick reader: nearly all events have nothing unusual about them.

`schemas.events` says what is valid. This reader takes a part of that, several times as fast, and
whatever it does not take goes there. It is JSON with nothing in it that two readers could take
differently: no escapes, no nesting but metadata, nothing that is not UTF-8.
`tests/property/schemas/test_plain_events.py` holds the two against each other.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import Annotated, Literal, NamedTuple, NotRequired, cast

import msgspec
from msgspec import Meta
from pydantic_core import from_json
from typing_extensions import TypedDict

from schemas.events import AMOUNT_MAX, EventType, Provider, UsageEvent, bounded_metadata
from schemas.provider_response import TEXT_LENGTH_MAX, TOKENS_MAX
from schemas.topics import EVENTS_PER_RECORD_MAX

_Text = Annotated[str, Meta(max_length=TEXT_LENGTH_MAX)]
_RequiredText = Annotated[str, Meta(min_length=1, max_length=TEXT_LENGTH_MAX)]
_TokenCount = Annotated[int, Meta(ge=0, le=TOKENS_MAX)]
_ImageCount = Annotated[int, Meta(gt=0, le=AMOUNT_MAX)]
_Never = Literal["\0"]  # which needs an escape
_Amount = _ImageCount | Annotated[float, Meta(gt=0, le=AMOUNT_MAX)]


class _PlainEvent(TypedDict):
    event_id: _RequiredText
    customer_id: _RequiredText
    event_type: EventType
    feature_id: _Text
    timestamp: _RequiredText
    user_id: NotRequired[_Text]
    team_id: NotRequired[_Text]
    provider: NotRequired[Provider]
    model: NotRequired[_Text]
    input_tokens: NotRequired[_TokenCount]
    output_tokens: NotRequired[_TokenCount]
    image_count: NotRequired[_ImageCount]
    image_size: NotRequired[_Text]
    quality: NotRequired[_Text]
    duration_seconds: NotRequired[_Amount]
    resolution: NotRequired[_Text]
    unit_type: NotRequired[_Text]
    quantity: NotRequired[_Amount]
    metadata: NotRequired[msgspec.Raw]
    idempotency_key: NotRequired[_Text]
    provider_response: NotRequired[_Never]
    events: NotRequired[_Never]  # then it is a batch, or somebody's mistake


class _PlainBatch(TypedDict):
    events: Annotated[list[_PlainEvent], Meta(min_length=1, max_length=EVENTS_PER_RECORD_MAX)]


class PlainRecords(NamedTuple):
    """The valid events of each record, and the moments that all of them name, one after another."""

    records: list[Sequence[UsageEvent]]
    moments: list[datetime]


_decode_event = msgspec.json.Decoder(_PlainEvent).decode
_decode_batch = msgspec.json.Decoder(_PlainBatch).decode

_DIGITS = bytes.maketrans(b"0123456789", b"0" * 10)
_HEX_DIGITS = bytes.maketrans(b"0123456789abcdefABCDEF", b"0" * 22)
_is_utc_form = re.compile(rb"0000-00-00T00:00(?::00(?:\.0+)?)?Z").fullmatch
_BATCH = b'{"events"'
_UUID_FORM = b"00000000-0000-0000-0000-000000000000"
# Far below where any reader of JSON gives up: one skips what another reads.
_NESTING_MAX = 100
_LONG_NUMBER = b"0" * 1_000


def read_plain(values: Sequence[bytes]) -> PlainRecords | None:
    """Return of each record what `validate_each` would; None: ask that one, record by record.

    A record is one event or one batch of events.
    """
    text = b"\n".join(values)
    if b"\\" in text or _LONG_NUMBER in text.translate(_DIGITS):
        return None
    try:
        if not text.isascii():
            for value in values:
                value.decode()
        found = [
            _decode_batch(value)["events"] if value.startswith(_BATCH) else (_decode_event(value),)
            for value in values
        ]
        records = cast("list[Sequence[UsageEvent]]", found)
        events = list(chain.from_iterable(records))
        batches = [type(one) for one in records].count(list)
        if _nesting(text) != len(events) + 2 * batches + sum(map(_read_metadata, events)):
            return None
        _settle_ids(events)
        return PlainRecords(records, _moments([event["timestamp"] for event in events]))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _nesting(text: bytes) -> int:
    return text.count(b"{") + text.count(b"[")


def _read_metadata(event: UsageEvent) -> int:
    """Put the event's metadata in place of its text; return how many things it nests."""
    if "metadata" not in event:
        return 0
    text = bytes(cast("msgspec.Raw", event["metadata"]))
    nesting = _nesting(text)
    if nesting > _NESTING_MAX or text[:1] != b"{":
        raise ValueError("unusual metadata")
    event["metadata"] = bounded_metadata(from_json(text))
    return nesting


def _settle_ids(events: Sequence[UsageEvent]) -> None:
    """Check the ids, and make of events what `schemas.events.settle` does."""
    ids = "\n".join([event["event_id"] for event in events])
    if ids.encode().translate(_HEX_DIGITS) != b"\n".join([_UUID_FORM] * len(events)):
        raise ValueError("an id of another form")
    if not ids.islower():  # without a letter, too
        for event in events:
            event["event_id"] = event["event_id"].lower()
    if "" in [event.get("idempotency_key") for event in events]:
        for event in events:
            if event.get("idempotency_key") == "":
                del event["idempotency_key"]


def _moments(timestamps: Sequence[str]) -> list[datetime]:
    text = "\n".join(timestamps).encode()
    forms = set(text.translate(_DIGITS).split(b"\n"))
    if not all(map(_is_utc_form, forms)) or b"T24" in text:  # fromisoformat takes more than we do
        raise ValueError("a time of another form")
    return list(map(datetime.fromisoformat, timestamps))

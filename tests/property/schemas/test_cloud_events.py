"""CloudEvents: one identity per source and id, one event in every mode, no surprises."""

from contextlib import suppress
from typing import Any
from urllib.parse import quote

import orjson
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from schemas.cloud_events import (
    identity_text,
    read_kafka,
    usage_event_id,
    validate_http,
)
from schemas.events import InvalidBatchError, NotJsonError, validate_each
from sinks.audit_log import count_events

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
sources = texts.map(lambda text: "/" + "".join(text.split()))
pairs = st.tuples(sources, texts)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
DATA = {"feature_id": "f", "customer_id": "c", "event_type": "API_CALL"}
TIME = "2026-11-20T10:00:00Z"


@given(pairs, pairs)
def test_only_the_same_source_and_id_are_the_same_event(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    """No other source and id make the same key or the same event id."""
    assert (identity_text(*one) == identity_text(*other)) is (one == other)
    assert (usage_event_id(*one) == usage_event_id(*other)) is (one == other)


@given(sources, texts, st.dictionaries(texts, st.integers(0, 9), max_size=3))
def test_every_mode_gives_the_same_event(source: str, own_id: str, more: dict[str, int]) -> None:
    """Whatever text the attributes hold, the three ways to write an event are one event."""
    data = more | DATA
    attributes = {"specversion": "1.0", "id": own_id, "source": source, "type": "t", "time": TIME}
    whole, alone = orjson.dumps({**attributes, "data": data}), orjson.dumps(data)
    headers = CIMultiDict((f"ce-{name}", quote(value)) for name, value in attributes.items())
    of_kafka = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]

    structured = validate_http(whole, "structured", {})

    assert validate_http(b"[%s]" % whole, "batch", {}) == structured
    assert validate_http(alone, "binary", headers) == structured
    mapped = read_kafka(alone, of_kafka)
    assert read_kafka(whole, [("content-type", b"application/cloudevents+json")]) == mapped
    if not any("\0" in text for text in (source, own_id)) and len(source + own_id) < 500:
        assert validate_each(mapped) == structured


@given(
    json_values,
    st.dictionaries(
        st.sampled_from(["id", "source", "type", "subject", "time", "specversion", "data"]),
        json_values | st.sampled_from(["1.0", TIME, "/s"]),
    ),
)
def test_nothing_but_a_refusal_comes_of_bad_bytes(data: object, fields: dict[str, Any]) -> None:
    """A CloudEvent is mapped, or refused with a reason; it never breaks a worker."""
    whole = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": data} | fields
    try:
        text = orjson.dumps(whole)
    except TypeError:  # an integer of more than 64 bits
        text = str(whole).replace("'", '"').encode()
    with suppress(InvalidBatchError, NotJsonError):
        mapped = read_kafka(text, [("content-type", b"application/cloudevents+json")])
        assert len(validate_each(mapped)) == 1


@given(st.dictionaries(st.sampled_from(["events", "_errors", "x"]) | texts, json_values))
def test_the_audit_counts_one_event_where_the_streams_read_one(more: dict[str, Any]) -> None:
    """It reads no headers: an attribute must not make it see another number of events."""
    own = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "time": TIME, "data": DATA}
    with suppress(TypeError, InvalidBatchError):  # TypeError: an integer of more than 64 bits
        whole = orjson.dumps(more | own)
        read_kafka(whole, [("content-type", b"application/cloudevents+json")])
        assert count_events(whole) == 1


@given(st.binary(), st.lists(st.tuples(st.sampled_from(["ce_id", "ce_specversion"]), st.binary())))
def test_headers_of_any_bytes_are_refused_or_read(
    value: bytes, headers: list[tuple[str, bytes]]
) -> None:
    """No header and no value breaks the reader."""
    named = [("ce_specversion", b"1.0"), ("ce_source", b"/s"), ("ce_type", b"t"), *headers]
    with suppress(InvalidBatchError, NotJsonError):
        assert isinstance(read_kafka(value, named), bytes)

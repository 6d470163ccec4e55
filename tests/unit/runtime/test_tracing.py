"""Trace context that comes from outside, and how a rated batch hands it on."""

from types import SimpleNamespace

import pytest

from deploy.runtime.tracing import (
    ENDPOINT_VARIABLE,
    handed_on,
    start_tracing,
    traced,
    traceparent_of,
    traces_header,
)

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        (GOOD, GOOD.encode()),
        (None, None),
        ("", None),
        (GOOD.upper(), None),
        (GOOD + "-x", None),
        (GOOD.replace("b7ad6b7169203331", "0" * 16), None),
        (GOOD.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32), None),
        ("00-\r\n", None),
    ],
)
def test_only_what_has_the_form_is_taken(text: str | None, taken: bytes | None) -> None:
    """A header is a caller's word: anything else than the standard's form is none."""
    assert traceparent_of(text) == taken


def test_traces_of_many_records_travel_in_one_header() -> None:
    """By offset, of those records alone that carry one; what has no form is left out."""
    headers = [[("format", b"1")], [("traceparent", GOOD.encode())], [("traceparent", b"\xff")]]
    records = [SimpleNamespace(offset=n, headers=one) for n, one in enumerate(headers)]
    traces = traced(records)
    assert traces == [(1, GOOD.encode())]
    assert handed_on([("fold", b"x"), traces_header(traces)]) == traces
    assert handed_on([("fold", b"x")]) == []


def test_it_is_off_unless_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an endpoint nothing is imported and nothing runs."""
    monkeypatch.delenv(ENDPOINT_VARIABLE, raising=False)
    assert start_tracing("gateway") is None

"""What is valid is one table, and both doors keep to it: HTTP, and records read by the streams."""

import json
from typing import Any

import pytest

from schemas.events import (
    InvalidBatchError,
    InvalidEvent,
    NotJsonError,
    validate_each,
)
from tests.contract.verdicts import ABSENT, REFUSED, TAKEN, VERDICTS, WHOLE, Verdict
from tests.unit.gateway.fakes import EVENT, Gateway, running_gateway


def _event(field: str, value: Any) -> dict[str, Any]:
    kept = {name: own for name, own in EVENT.items() if name != field}
    return kept if value is ABSENT else kept | {field: value}


FIELDS = sorted({field for field, _, _ in VERDICTS})


def _values_of(field: str) -> list[tuple[Any, Verdict]]:
    return [(value, verdict) for name, value, verdict in VERDICTS if name == field]


def _whole_cases() -> list[Any]:
    event = json.dumps(EVENT).encode()
    return [
        pytest.param(body.replace(b"{event}", event), verdict, id=name)
        for name, body, verdict in WHOLE
    ]


def _batch(field: str, value: Any) -> bytes:
    return json.dumps({"events": [_event(field, value)]}).encode()


async def _verdict_of_gateway(gateway: Gateway, body: bytes, **headers: str) -> Verdict:
    gateway.advice.known.clear()
    gateway.producer.written.clear()
    status, answer = await gateway.ingest(body, **headers)
    if status == 400:
        assert answer["error"] == "VALIDATION_ERROR"
        assert "_errors" in answer["details"]
        assert gateway.producer.written == []
        return REFUSED
    assert status == 202, answer
    return TAKEN


def _verdict_of_streams(value: bytes) -> Verdict:
    try:
        events = validate_each(value)
    except (NotJsonError, InvalidBatchError):
        return REFUSED
    return REFUSED if any(isinstance(one, InvalidEvent) for one in events) else TAKEN


@pytest.mark.parametrize("field", FIELDS)
async def test_gateway_keeps_to_the_table(field: str) -> None:
    """A value is taken or refused over HTTP as the table says, by lenient requests, too."""
    async with running_gateway() as gateway:
        wrong = [
            (value, prefer)
            for value, verdict in _values_of(field)
            for prefer in ("", "handling=lenient")
            if verdict != await _verdict_of_gateway(gateway, _batch(field, value), Prefer=prefer)
        ]

    assert wrong == []


@pytest.mark.parametrize("field", FIELDS)
def test_streams_keep_to_the_table(field: str) -> None:
    """A value is taken or refused in a producer's record as the table says, alone or in a batch."""
    wrong = [
        (value, record)
        for value, verdict in _values_of(field)
        for record in (json.dumps(_event(field, value)).encode(), _batch(field, value))
        if verdict != _verdict_of_streams(record)
    ]

    assert wrong == []


@pytest.mark.parametrize(("body", "verdict"), _whole_cases())
async def test_gateway_keeps_to_the_table_of_bodies(body: bytes, verdict: Verdict) -> None:
    """Whatever a body is, it gets an answer that the table foresees."""
    async with running_gateway() as gateway:
        assert await _verdict_of_gateway(gateway, body) == verdict
        assert await _verdict_of_gateway(gateway, body, Prefer="handling=lenient") == verdict


@pytest.mark.parametrize(("value", "verdict"), _whole_cases())
def test_streams_keep_to_the_table_of_records(value: bytes, verdict: Verdict) -> None:
    """The same bytes as a record of usage.raw get the same verdict."""
    assert _verdict_of_streams(value) == verdict


@pytest.mark.parametrize("field", FIELDS)
async def test_what_the_gateway_writes_the_streams_take_unchanged(field: str) -> None:
    """An accepted event means the same after Kafka as before it."""
    bodies = [_batch(field, value) for value, verdict in _values_of(field) if verdict is TAKEN]

    async with running_gateway() as gateway:
        for body in bodies:
            await gateway.ingest(body)

        written = [validate_each(value) for value in gateway.producer.written]
    assert written == [validate_each(body) for body in bodies]

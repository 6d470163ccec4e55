"""Bodies within the limits of memory, and failures that tell nothing of what failed."""

import asyncio
import json

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from gateway import ingest
from gateway.bodies import BodyMemory
from gateway.errors import UnavailableError
from gateway.producer import RecordRefusedError, Written
from gateway.settings import GatewaySettings
from tests.unit.gateway.fakes import EVENT, FakeProducer, Gateway, running_gateway
from tests.waiting import wait_until_async

BATCH = json.dumps({"events": [EVENT]}).encode()
MEBIBYTE = 1 << 20


def memory(*, bodies_bytes_max: int, body_bytes_max: int) -> BodyMemory:
    return BodyMemory(
        GatewaySettings(
            _env_file=None, bodies_bytes_max=bodies_bytes_max, body_bytes_max=body_bytes_max
        )
    )


def test_one_customer_fills_no_more_than_a_share() -> None:
    """Beyond it others still find room; what is released can be taken again."""
    room = memory(bodies_bytes_max=80 * MEBIBYTE, body_bytes_max=10 * MEBIBYTE)

    with room.reserve("a") as more:
        more(20 * MEBIBYTE)
        with pytest.raises(UnavailableError), room.reserve("a") as again:
            again(1)
        with room.reserve("b") as others:
            others(20 * MEBIBYTE)
    with room.reserve("a") as more:
        more(20 * MEBIBYTE)


def test_all_customers_together_stay_within_the_limit() -> None:
    """The last one is refused, and what it held is free at once."""
    room = memory(bodies_bytes_max=40 * MEBIBYTE, body_bytes_max=10 * MEBIBYTE)

    with room.reserve("a") as more, room.reserve("b") as others:
        more(20 * MEBIBYTE)
        others(15 * MEBIBYTE)
        with room.reserve("c") as last:
            last(5 * MEBIBYTE)
            with pytest.raises(UnavailableError) as refused:
                last(1)
        with room.reserve("c") as last:
            last(5 * MEBIBYTE)
    assert refused.value.body["cause"] == "memory"


def test_the_largest_body_always_passes() -> None:
    """A small limit on all bodies does not make the limit on one of them a lie."""
    room = memory(bodies_bytes_max=2 * MEBIBYTE, body_bytes_max=MEBIBYTE)

    with room.reserve("a") as more:
        more(MEBIBYTE)  # as sent
        more(MEBIBYTE)  # as inflated


async def _half_a_body(gateway: Gateway, size: int) -> asyncio.StreamWriter:
    host, port = gateway.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = "\r\n".join(f"{name}: {value}" for name, value in gateway.headers.items())
    line = f"POST /v1/events/ingest HTTP/1.1\r\nhost: x\r\n{head}\r\ncontent-length: {size + 1}"
    writer.write(line.encode() + b"\r\n\r\n" + b" " * size)
    await writer.drain()
    return writer


async def test_bodies_that_stay_halfway_are_not_held_without_limit() -> None:
    """503 by name while they fill the room; served again when they are gone."""
    limits = {"bodies_bytes_max": MEBIBYTE, "body_bytes_max": MEBIBYTE // 2}
    async with running_gateway(**limits) as gateway:
        writers = [await _half_a_body(gateway, MEBIBYTE // 2 - 1) for _ in range(2)]

        async def is_full() -> dict[str, object]:
            status, answer = await gateway.ingest(BATCH)
            return answer if status == 503 else {}

        answer = await wait_until_async(is_full, 30, "there is no room")
        assert answer["error"] == "SERVICE_UNAVAILABLE"
        assert answer["cause"] == "memory"

        for writer in writers:
            writer.close()

        async def is_served() -> bool:
            return (await gateway.ingest(BATCH))[0] != 503

        await wait_until_async(is_served, 30, "there is room again")


async def test_body_of_too_many_values_is_too_large() -> None:
    """Told by its commas and brackets before anything reads it; text within the limit passes."""
    flood = b'{"events":[' + b"{}," * (ingest.VALUES_MAX // 2) + b"{}]}"
    async with running_gateway() as gateway:
        status, answer = await gateway.ingest(flood)
        assert status == 413
        assert "too many values" in answer["message"]
        long = json.dumps({"events": [EVENT], "x": "y" * 2 * ingest.VALUES_MAX}).encode()
        assert (await gateway.ingest(long))[0] == 202


async def test_record_that_kafka_refuses_is_the_callers_to_divide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """413, not a failure: to send the same again would not help."""

    async def refuse(*_: object) -> Written:
        raise RecordRefusedError("too large")

    monkeypatch.setattr(FakeProducer, "write", refuse)
    async with running_gateway() as gateway:
        status, answer = await gateway.ingest(BATCH)

    assert status == 413
    assert "fewer events" in answer["message"]


async def test_failure_of_ours_is_told_by_kind_and_place_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An exception's message may hold what a caller sent; neither log nor answer repeats it."""

    async def fail(*_: object) -> web.Response:
        raise ValueError("a secret of the payload")

    monkeypatch.setattr("gateway.handlers._write", fail)
    async with running_gateway() as gateway:
        with capture_logs() as lines:
            status, answer = await gateway.ingest(BATCH)

    assert status == 500
    assert answer["error"] == "INTERNAL_ERROR"
    (line,) = [one for one in lines if one["log_level"] == "error"]
    assert line["failure"] == "ValueError"
    assert line["at"][-1].endswith(" fail")
    assert "secret" not in str(lines) + str(answer)


async def test_connection_that_asks_nothing_is_closed() -> None:
    """Neither silence nor half a head holds it for longer than the idle time."""
    async with running_gateway(idle_timeout_seconds=0.2) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        for begun in (b"", b"GET /health HTTP/1.1\r\nhost:"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(begun)
            async with asyncio.timeout(30):
                assert await reader.read() == b""
            writer.close()

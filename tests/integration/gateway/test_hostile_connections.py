"""Connections that are cut, malformed or slow, against the real process."""

import gzip
import os
import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import GatewaySettings
from schemas.events import validate_batch
from tests.integration.gateway.conftest import read_all
from tests.integration.gateway.hostile import (
    MARKER,
    Answer,
    HostedGateway,
    batch,
    check_answer,
    chunked,
    event,
    hosted_gateway,
    ingest,
    read_answer,
    request,
)
from tests.waiting import wait_until

GOOD = batch(event(0xF000))
SLOW_CALLERS = 1_000
# Ids of the requests that are cut; no other test uses them.
CUT_FROM = 0xC0000
BODY_SECONDS, IDLE_SECONDS = 2, 3


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("CRASH_SEED") or random.randrange(2**32))
    print(f"CRASH_SEED={chosen}")
    return chosen


def _whole_forms(number: int) -> Iterator[tuple[str, bytes]]:
    """Yield the same good request in each form that a body may come in."""
    body = batch(event(number, metadata={"note": MARKER}))
    yield "plain", ingest(body)
    yield "chunked", ingest(chunked(body), b"transfer-encoding: chunked", length=False)
    yield "gzip", ingest(gzip.compress(body), b"content-encoding: gzip")


def _cuts(data: bytes, chance: random.Random, count: int) -> list[int]:
    """Return where to cut: the boundaries of lines and of the whole, and some of the rest."""
    boundaries = {at for at in range(len(data)) if data[at : at + 2] == b"\r\n"}
    near = {at + step for at in boundaries for step in (0, 1, 2)} | {1, len(data) - 1}
    return sorted(near | set(chance.sample(range(1, len(data)), min(count, len(data) - 1))))


def _leave(caller: socket.socket, *, rudely: bool) -> None:
    if rudely:  # a reset instead of an orderly end
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.close()


async def _cut_everywhere(
    hosted: HostedGateway, hosted_settings: GatewaySettings, chance: random.Random, count: int
) -> None:
    whole: set[str] = set()
    number = CUT_FROM
    for form, _ in _whole_forms(0):
        length = len(dict(_whole_forms(0))[form])
        for cut in _cuts(dict(_whole_forms(0))[form], chance, count):
            number += 1
            data = dict(_whole_forms(number))[form]
            assert abs(len(data) - length) < 32
            caller = hosted.connect()
            caller.sendall(data[: min(cut, len(data) - 1)])
            _leave(caller, rudely=chance.random() < 0.5)
        number += 1
        answer = hosted.send(dict(_whole_forms(number))[form])
        assert answer is not None
        assert answer.status == 202, answer
        whole.add(event(number)["event_id"])

    records = await read_all(hosted_settings)
    found = {one["event_id"] for record in records for one in validate_batch(record.value)}
    ours = {event(one)["event_id"] for one in range(CUT_FROM, number + 1)}
    assert found & ours == whole
    hosted.check_log()


@pytest.mark.timeout(180)
async def test_request_cut_at_any_byte_is_no_request(
    hosted: HostedGateway, hosted_settings: GatewaySettings, seed: int
) -> None:
    """Nothing of it reaches Kafka, the next connection works, the log tells no failure."""
    await _cut_everywhere(hosted, hosted_settings, random.Random(seed), 30)


@pytest.mark.whole
@pytest.mark.timeout(600)
async def test_request_cut_at_every_byte_is_no_request(
    hosted: HostedGateway, hosted_settings: GatewaySettings, seed: int
) -> None:
    """The same, at every byte there is."""
    await _cut_everywhere(hosted, hosted_settings, random.Random(seed), 10_000)


def _marked(*headers: bytes, body: bytes = b"", **options: Any) -> bytes:
    return ingest(body or batch(event(2, metadata={"note": MARKER})), *headers, **options)


TAKEN = {200, 202}

# (name, bytes, the statuses of the answers that may come)
MALFORMED: list[tuple[str, bytes, set[int]]] = [
    ("garbage", MARKER.encode() * 900, {400}),
    ("TLS", b"\x16\x03\x01\x02\x00" + MARKER.encode() + b"\r\n\r\n", {400}),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}),
    ("only line feeds", _marked().replace(b"\r\n", b"\n"), {400}),
    ("no host", _marked().replace(b"host: gateway\r\n", b""), {400}),
    ("HTTP/1.0", _marked().replace(b"HTTP/1.1", b"HTTP/1.0"), TAKEN),
    ("HTTP/3", _marked().replace(b"HTTP/1.1", b"HTTP/3.0"), {400}),
    ("unknown method", request(MARKER.upper(), "/health"), {400}),
    ("another method", request("PROPFIND", "/v1/events/ingest"), {405}),
    ("CONNECT", request("CONNECT", "x:1"), {404}),
    ("OPTIONS *", request("OPTIONS", "*"), {404}),
    ("path of bytes", request("GET", b"/v1/\xff\xfe"), {400}),
    ("path of escapes", request("GET", "/v1/batches/%ff%00%ed%a0%80"), {404}),
    ("path of 9,000", request("GET", "/" + "a" * 9_000), {400}),
    ("path with a line", request("GET", "/v1/\n" + MARKER), {400}),
    ("no such host", request("GET", "http://[::1/" + MARKER), {400}),
    ("no such port", request("GET", "http://h:99999999/"), {400}),
    ("key with NUL", _marked(key=MARKER + "\0"), {400}),
    ("key with a control character", _marked(key=MARKER + "\x01"), {400}),
    ("key with CR", _marked(key=MARKER + "\rx: y"), {400}),
    ("key with a line", _marked(key=MARKER + "\r\n " + MARKER), {400}),
    ("key of 600", _marked(key=MARKER * 35), {401}),
    ("key of 9,000", _marked(key=MARKER * 500), {400}),
    ("key of odd bytes", _marked(b"x-api-key: \xff\xfe\x80", key=None), {401}),
    ("bearer of odd bytes", _marked(b"authorization: Bearer \xff", key=None), {401}),
    ("500 headers", _marked(*[b"a%d: b" % number for number in range(500)]), {400}),
    ("header without a colon", _marked(MARKER.encode()), {400}),
    ("header with a space", _marked(b"bad name: " + MARKER.encode()), {400}),
    ("header with NUL", _marked(b"x: \0" + MARKER.encode()), {400}),
    ("unknown expectation", _marked(b"expect: " + MARKER.encode()), {417}),
    ("expectation of odd bytes", _marked(b"expect: \xff"), {417}),
    ("expectation", _marked(b"expect: 100-continue"), TAKEN),
    ("web socket", _marked(b"connection: upgrade", b"upgrade: websocket"), TAKEN),
    ("old web socket", _marked(b"sec-websocket-key1: x"), {400}),
    (
        "type of odd bytes",
        _marked(b"content-type: \xff/\xff").replace(b"application/json", b""),
        {400},
    ),
    ("negative length", _marked(b"content-length: -1", length=False), {400}),
    ("signed length", _marked(b"content-length: +5", length=False), {400}),
    ("two lengths", _marked(b"content-length: 5"), {400}),
    ("length of 10^30", _marked(b"content-length: 1" + b"0" * 30, length=False), {400}),
    ("length of 2^63", _marked(b"content-length: %d" % 2**63, length=False), {413}),
    ("length too short", _marked(b"content-length: 5", length=False), {400}),
    ("length and chunks", _marked(b"transfer-encoding: chunked"), {400}),
    ("unknown transfer", _marked(b"transfer-encoding: x" + MARKER.encode(), length=False), {400}),
    (
        "chunked twice",
        _marked(b"transfer-encoding: chunked", b"transfer-encoding: identity", length=False),
        {400},
    ),
    (
        "chunk of no size",
        _marked(
            b"transfer-encoding: chunked",
            length=False,
            body=b"5\r\nhello\r\nz" + MARKER.encode() + b"\r\n",
        ),
        {400},
    ),
    (
        "chunk of negative size",
        _marked(
            b"transfer-encoding: chunked", length=False, body=b"-5\r\n" + MARKER.encode() + b"\r\n"
        ),
        {400},
    ),
    (
        "10,000 trailers",
        _marked(
            b"transfer-encoding: chunked",
            length=False,
            body=b"0\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
        ),
        {400},
    ),
]


def test_what_is_no_request_is_answered_in_json_and_told_to_nobody(hosted: HostedGateway) -> None:
    """Malformed HTTP, lies about lengths, odd bytes: a documented answer that quotes nothing."""
    wrong = []
    for name, data, expected in MALFORMED:
        answer = hosted.send(data)
        if answer is None or answer.status not in expected:
            wrong.append((name, answer))
            continue
        check_answer(answer)
        if answer.status == 400:
            assert MARKER.encode() not in answer.body, name

    assert wrong == []
    hosted.check_log()


async def test_smuggled_request_is_no_request(
    hosted: HostedGateway, hosted_settings: GatewaySettings
) -> None:
    """Whatever stands behind an ambiguous body is never taken for a request."""
    inner = ingest(batch(event(0xBAD)))
    shapes = [
        ingest(b"0\r\n\r\n" + inner, b"transfer-encoding: chunked"),
        ingest(b"0\r\n\r\n" + inner, b"transfer-encoding:\tchunked"),
        ingest(b"0\r\n\r\n" + inner, b"transfer-encoding: chunked\r\ntransfer-encoding: x"),
        ingest(b"0\r\n\r\n" + inner, b"transfer-encoding: x, chunked", b"content-length: 0"),
        ingest(inner, b"content-length: 0", length=True),
        ingest(inner, b"content-length : 0", length=False),
        ingest(inner, b"x: y\nconten-length: 0"),
    ]
    for data in shapes:
        answer = hosted.send(data)
        assert answer is not None
        check_answer(answer)
        assert answer.status == 400, data
    last = hosted.send(ingest(GOOD))
    assert last is not None
    assert last.status in TAKEN

    records = await read_all(hosted_settings)
    found = {one["event_id"] for record in records for one in validate_batch(record.value)}
    assert event(0xF000)["event_id"] in found
    assert event(0xBAD)["event_id"] not in found
    hosted.check_log()


def test_pipelined_requests_are_answered_in_order(hosted: HostedGateway) -> None:
    """Two hundred requests in one go, good and bad ones, each with its own answer."""
    wanted: list[int] = []
    data = b""
    for number in range(0xD000, 0xD064):
        data += ingest(batch(event(number))) + request("GET", "/v1/nothing")
        wanted += [202, 404]
    caller = hosted.connect()
    caller.sendall(data)
    with caller, caller.makefile("rb") as answers:
        found = []
        for _ in wanted:
            found.append(int(answers.readline().split()[1]))
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split()[1])
            answers.read(length)

    assert found == wanted
    hosted.check_log()


def _answer_of_slow(caller: socket.socket, part: bytes) -> Answer | None:
    """Send a byte at a time until the gateway has had enough; return what it says."""
    caller.settimeout(0.2)
    for at in range(len(part)):
        try:
            caller.sendall(part[at : at + 1])
            return read_answer(caller)
        except TimeoutError:
            continue
        except OSError:
            return None
    raise AssertionError("the gateway waited for all of it")


@pytest.mark.timeout(180)
def test_slow_callers_are_cut_off_while_others_are_served(
    hosted_settings: GatewaySettings, tmp_path: Path
) -> None:
    """A thousand who send nothing, half a head or half a body; then one byte at a time."""
    limits = {
        "BODY_TIMEOUT_SECONDS": str(BODY_SECONDS),
        "IDLE_TIMEOUT_SECONDS": str(IDLE_SECONDS),
    }
    good = ingest(GOOD)
    halves = [b"", good[:40], good[: good.index(b"\r\n\r\n") + 4], good[:-20]]
    with hosted_gateway(hosted_settings, tmp_path, **limits) as hosted:
        callers = [hosted.connect() for _ in range(SLOW_CALLERS)]
        for number, caller in enumerate(callers):
            caller.sendall(halves[number % len(halves)])
        for _ in range(20):
            answer = hosted.send(good)
            assert answer is not None
            assert answer.status in {200, 202}

        ends = [read_answer(caller) for caller in callers]
        for number, end in enumerate(ends):
            if number % len(halves) < 2:
                assert end is None, end  # no request came: there is nothing to answer
            else:
                assert end is not None
                assert end.status == 408
                check_answer(end)
        for caller in callers:
            caller.close()

        with hosted.connect() as caller:
            caller.sendall(halves[2])
            answer_of_body = _answer_of_slow(caller, b" " * 200)
        assert answer_of_body is not None
        assert answer_of_body.status == 408
        with hosted.connect() as caller:
            assert _answer_of_slow(caller, b"GET /health HTTP/1.1\r\nx: " + b"y" * 200) is None
        hosted.check_log()


@pytest.mark.whole
@pytest.mark.timeout(300)
def test_caller_who_reads_nothing_is_cut_off(
    hosted_settings: GatewaySettings, tmp_path: Path
) -> None:
    """Answers that nobody takes are not kept for ever."""
    with hosted_gateway(
        hosted_settings, tmp_path, IDLE_TIMEOUT_SECONDS=str(IDLE_SECONDS)
    ) as hosted:
        caller = socket.socket()
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        caller.connect(("127.0.0.1", hosted.port))
        caller.settimeout(1.0)
        page = request("GET", "/v1/" + "a" * 8_000)
        wait_until(lambda: _is_refused(caller, page), 120, "the connection is cut off")
        caller.close()
        hosted.check_log()


def _is_refused(caller: socket.socket, data: bytes) -> bool:
    try:
        caller.sendall(data)
    except TimeoutError:
        return False
    except OSError:
        return True
    return False

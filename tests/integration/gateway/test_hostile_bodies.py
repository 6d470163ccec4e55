"""Bodies made to cost much or to mean two things, against the real process."""

import gzip
import itertools
import json
import time
import zlib
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway.ingest import VALUES_MAX
from schemas.events import InvalidBatchError, InvalidEvent, NotJsonError, validate_each
from tests.integration.gateway.hostile import (
    MARKER,
    HostedGateway,
    batch,
    check_answer,
    chunked,
    event,
    ingest,
    request,
)

GOOD = batch(event(1))
REPLACE = "/v1/events/550e8400-e29b-41d4-a716-446655440001/replace"
MEBIBYTE = 1 << 20
# What the largest body may cost in memory for a moment, with room to spare.
GROWTH_BYTES_MAX = 400 * MEBIBYTE


def _peak_bytes(hosted: HostedGateway) -> int:
    """Return the most memory that the process ever held, where the system tells."""
    status = Path(f"/proc/{hosted.process.pid}/status")
    if not status.exists():
        return hosted.rss_bytes()
    (line,) = [one for one in status.read_text().splitlines() if one.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def _bomb(mebibytes: int, level: int = 9) -> bytes:
    packer = zlib.compressobj(level, wbits=31)
    parts = [packer.compress(bytes(MEBIBYTE)) for _ in range(mebibytes)]
    return b"".join([*parts, packer.flush()])


def _repeated(unit: bytes, size: int, head: bytes, tail: bytes) -> bytes:
    return head + b",".join([unit] * (size // (len(unit) + 1))) + tail


def _costly() -> list[tuple[str, bytes, set[int]]]:
    """Return (name, request, statuses that may be answered)."""
    start = json.dumps(event(3))[:-1].encode()
    size = 9 * MEBIBYTE
    zipped = b"content-encoding: gzip"
    below = (VALUES_MAX // 2 - 50) * 8  # as many values as are read at all
    deep = b'{"events":[' + start + b',"metadata":{"a":' + b"[" * 100_000 + b"}}]}"
    return [
        ("bomb", ingest(_bomb(256), zipped), {413}),
        ("bomb in a bomb", ingest(gzip.compress(_bomb(64)), zipped), {400}),
        ("bomb, cut short", ingest(_bomb(64)[:-50], zipped), {400, 413}),
        ("gzip, cut short", ingest(gzip.compress(GOOD)[:-5], zipped), {400}),
        ("two members", ingest(gzip.compress(GOOD) * 2, zipped), {400}),
        ("not gzip", ingest(GOOD, zipped), {400}),
        ("gzip unannounced", ingest(gzip.compress(GOOD)), {400}),
        ("deflate", ingest(zlib.compress(GOOD), b"content-encoding: deflate"), {415}),
        ("br", ingest(GOOD, b"content-encoding: br"), {415}),
        ("gzip twice", ingest(_bomb(64), zipped, zipped), {415}),
        ("announced too large", ingest(b"", b"content-length: 99999999999", length=False), {413}),
        (
            "too large in chunks",
            ingest(
                chunked(b" " * 12 * MEBIBYTE, MEBIBYTE), b"transfer-encoding: chunked", length=False
            ),
            {413},
        ),
        ("three million events", ingest(_repeated(b"{}", size, b'{"events":[', b"]}")), {413}),
        (
            "its replay",
            request("POST", "/v1/events/dlq/replay", _repeated(b"{}", size, b"[", b"]")),
            {413},
        ),
        (
            "events at the limit",
            ingest(_repeated(b"{}", below // 8 * 3, b'{"events":[', b"]}")),
            {400},
        ),
        (
            "values in an event that lacks everything",
            ingest(_repeated(b'{"a":1}', below, b'{"events":[{"metadata":{"a":[', b"]}}]}")),
            {400},
        ),
        (
            "the same, leniently",
            ingest(
                _repeated(b'{"a":1}', below, b'{"events":[{"metadata":{"a":[', b"]}}]}"),
                b"prefer: handling=lenient",
            ),
            {400},
        ),
        ("deep", ingest(deep), {400}),
        ("deep replay", request("POST", "/v1/events/dlq/replay", b"[" * 100_000), {400}),
        (
            "a moment of a mebibyte",
            ingest(batch(event(4, timestamp=f"2025-01-17T14:30:00.{'0' * MEBIBYTE}Z"))),
            {400},
        ),
        *_costly_replacements(below),
    ]


def _costly_replacements(below: int) -> list[tuple[str, bytes, set[int]]]:
    return [
        (
            "deep replacement",
            request("POST", REPLACE, b'{"event":' * 100_000),
            {400},
        ),
        (
            "values in a replacement that lacks everything",
            request(
                "POST",
                REPLACE,
                _repeated(b'{"a":1}', below, b'{"event":{"metadata":{"a":[', b"]}}}"),
            ),
            {400},
        ),
    ]


@pytest.mark.timeout(240)
def test_costly_bodies_are_refused_at_a_bounded_price(hosted: HostedGateway) -> None:
    """Bombs, floods of values, depth: a documented refusal, little memory, and all goes on."""
    hosted.send(ingest(GOOD))
    before = _peak_bytes(hosted)
    cpu = psutil.Process(hosted.process.pid)
    wrong = []
    for name, data, expected in _costly():
        used = sum(cpu.cpu_times()[:2])
        started = time.monotonic()
        answer = hosted.send(data)
        if answer is None or answer.status not in expected:
            wrong.append((name, answer))
            continue
        check_answer(answer)
        print(
            f"{name:42} {answer.status} cpu {sum(cpu.cpu_times()[:2]) - used:5.2f} s, "
            f"{time.monotonic() - started:5.2f} s, peak +{(_peak_bytes(hosted) - before) >> 20} MiB"
        )

    assert wrong == []
    assert _peak_bytes(hosted) - before < GROWTH_BYTES_MAX
    good = hosted.send(ingest(batch(event(5))))
    assert good is not None
    assert good.status == 202
    hosted.check_log()


# Numbers, keys and texts as JSON spells them; what a library would spell otherwise.
RAW_FIELDS = [
    b'"input_tokens":1e400',
    b'"input_tokens":-0',
    b'"input_tokens":-0.0',
    b'"input_tokens":5e0',
    b'"input_tokens":9223372036854775807',
    b'"input_tokens":9223372036854775808',
    b'"input_tokens":9.223372036854775807e18',
    b'"input_tokens":1' + b"0" * 400,
    b'"input_tokens":NaN',
    b'"quantity":1e400',
    b'"quantity":1e-400',
    b'"quantity":-Infinity',
    b'"quantity":1' + b"0" * 400,
    b'"metadata":{"a":1e400}',
    b'"metadata":{"a":1e400,"b":"NaN"}',
    b'"metadata":{"a":NaN}',
    b'"metadata":{"a":1' + b"0" * 400 + b"}",
    b'"metadata":{"a":18446744073709551615}',
    b'"metadata":{"a":18446744073709551616}',
    b'"metadata":{"a":1,"a":2}',
    b'"metadata":{"a":' + b"[" * 190 + b"]" * 190 + b"}",
    b'"metadata":{"a":"\\ud800"}',
    b'"metadata":{"a":"\\ud83d\\ude00"}',
    b'"metadata":{"a":"\xff"}',
    b'"metadata":{"a":"\\u0000"}',
    b'"model":"a\\u0000b"',
    b'"model":"a\x00b"',
    b'"model":"\\ud800"',
    b'"model":"x","model":5',
    b'"model":5,"model":"x"',
    b'"mod\\u0065l":5',
    b'"event_id":"550e8400-e29b-41d4-a716-446655440009"',
    b'"user_id":"x\\r\\nset-cookie: a=b"',
    b'"idempotency_key":"x\\r\\nset-cookie: a=b"',
    b'"timestamp":"2025-01-17T14:30:00.' + b"0" * 491 + b'Z"',
    b'"timestamp":"2025-01-17T14:30:00.' + b"0" * 492 + b'Z"',
    b'"provider":"OPENAI","provider_response":{"usage":{"prompt_tokens":1e400}}',
    b'"provider":"OPENAI","provider_response":{"usage":{"prompt_tokens":1' + b"0" * 400 + b"}}",
    b'"provider":"ANTHROPIC","provider_response":{"usage":{"cache_read_input_tokens":1e400}}',
]


def _verdict_of_streams(value: bytes) -> bool:
    try:
        return not any(isinstance(one, InvalidEvent) for one in validate_each(value))
    except (NotJsonError, InvalidBatchError):
        return False


def test_both_doors_judge_odd_spellings_alike(hosted: HostedGateway) -> None:
    """Numbers beyond every type, repeated keys, broken texts: one verdict, and one meaning."""
    different: list[Any] = []
    numbers = itertools.count(100)
    for raw, prefer in itertools.product(RAW_FIELDS, (b"handling=strict", b"handling=lenient")):
        text = json.dumps(event(next(numbers)))[:-1].encode() + b"," + raw + b"}"
        body = b'{"events":[' + text + b"]}"
        answer = hosted.send(ingest(body, b"prefer: " + prefer))
        assert answer is not None
        check_answer(answer)
        assert "set-cookie" not in answer.headers
        taken = answer.status in {200, 202}
        if not taken == _verdict_of_streams(body) == _verdict_of_streams(text):
            different.append((raw, answer))

    assert different == []
    hosted.check_log()


def test_other_tenants_and_the_log_see_nothing_of_a_payload(hosted: HostedGateway) -> None:
    """Not of what was taken, nor of what was refused, nor of a model provider's answer."""
    secret = {"note": MARKER, "deep": [{MARKER: MARKER}]}
    bodies = [
        batch(event(50, metadata=secret, provider_response={"choices": [MARKER]}, model=MARKER)),
        batch(event(2, customer_id=MARKER)),
        batch(event(3, metadata=secret, event_type=MARKER)),
        batch(event(4, metadata=[MARKER], user_id=5, idempotency_key=MARKER)),
        b'{"events":[{"' + MARKER.encode() + b'":',
    ]
    statuses = []
    for body in bodies:
        answer = hosted.send(ingest(body))
        assert answer is not None
        statuses.append(answer.status)
        foreign = hosted.send(ingest(body, key=MARKER))
        assert foreign is not None
        assert foreign.status == 401
        assert MARKER.encode() not in foreign.body

    assert statuses == [202, 403, 400, 400, 400]
    hosted.check_log()

"""A fuzzer: good requests to every route, bent in structure, bytes and headers.

The law: the documented JSON, below 500 or a 503 that names its cause; nothing in the log that was
in a request; no more memory afterwards than before.
"""

import json
import os
import random
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from gateway.settings import GatewaySettings
from tests.integration.gateway.conftest import add_customer
from tests.integration.gateway.hostile import (
    CAUSES_OF_503,
    MARKER,
    Answer,
    HostedGateway,
    check_answer,
    chunked,
    event,
    read_answer,
    request,
)
from tests.unit.gateway.fakes import API_KEY
from tests.waiting import wait_until

OTHER_KEY = "om_test_" + "1" * 48
WARM_UP_EXAMPLES = 150
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "600"))
WHOLE_EXAMPLES = 20_000
PATIENCE_SECONDS = 0.5
GROWTH_BYTES_MAX = 64 << 20

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, 10**400])
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["", "\0", "\ud800", "\ufeff", "x" * 513, MARKER, "../..", "' OR 1=1 --", "%s"]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = [
    "event_id", "customer_id", "event_type", "feature_id", "timestamp", "user_id", "team_id",
    "provider", "model", "input_tokens", "output_tokens", "image_count", "duration_seconds",
    "quantity", "unit_type", "metadata", "idempotency_key", "provider_response", MARKER,
]  # fmt: skip
SENSIBLE: dict[str, list[Any]] = {
    "provider": ["OPENAI", "ANTHROPIC", "GOOGLE"],
    "provider_response": [{"usage": {"prompt_tokens": 5, "input_tokens": 2}, "model": MARKER}],
    "metadata": [{"note": MARKER}],
    "timestamp": ["2025-01-17T14:30Z", "1999-01-01T00:00:00Z", "2999-01-01T00:00:00Z"],
    "customer_id": ["other", MARKER],
}
VOIDED = "550e8400-e29b-41d4-a716-446655440001"
ROUTES = [
    ("POST", "/v1/events/ingest"), ("POST", "/v1/events/ingest"), ("POST", "/v1/events/ingest"),
    ("POST", "/v1/events/dlq/replay"), ("GET", "/v1/events/dlq"), ("GET", "/v1/batches/"),
    ("GET", "/v1/events/"), ("GET", "/health"), ("GET", "/ready"), ("GET", "/v1/info"),
    ("GET", "/"), ("POST", f"/v1/events/{VOIDED}/void"), ("POST", f"/v1/events/{VOIDED}/replace"),
]  # fmt: skip
METHODS = ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "QUERY"]
HEADERS = [
    b"content-encoding", b"content-type", b"transfer-encoding", b"content-length", b"expect",
    b"connection", b"upgrade", b"prefer", b"x-forwarded-for", b"authorization", b"x-api-key",
    b"host", b"accept-encoding", b"range", b"x-request-id", b"cookie",
]  # fmt: skip
HEADER_VALUES = st.binary(max_size=40) | st.sampled_from([
    b"gzip", b"identity", b"chunked", b"0", b"5", b"-1", b"99999999999999999999", b"close",
    b"100-continue", b"upgrade", b"websocket", b"handling=lenient", b"application/json",
    b"text/plain", b"::1, 10.0.0.1", MARKER.encode(), b"Bearer " + MARKER.encode(), b"\xff\xfe",
    b"a" * 8_000,
])  # fmt: skip
SEGMENTS = (
    st.sampled_from(
        ["", "batch_", "batch_AQAA", "0:0", "0:99", "99:1", "-1:5", "2147483648:1", MARKER]
    )
    | st.sampled_from(["550e8400-e29b-41d4-a716-446655440001", "%00", "%ff", "..%2f", "x" * 3_000])
    | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A batch with events bent in some fields, or something else altogether."""
    kind = draw(st.sampled_from(["events", "events", "events", "jobs", "value", "bytes"]))
    if kind == "bytes":
        return draw(st.binary(max_size=200))
    if kind == "value":
        return _json(draw(VALUES))
    if kind == "jobs":
        ids = st.lists(st.text(max_size=20) | st.just(MARKER) | VALUES, max_size=5)
        return _json({"jobIds": draw(ids | VALUES)})
    events = []
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        one: dict[str, Any] = event(draw(st.integers(0, 2**40)))
        for name in draw(st.lists(st.sampled_from(FIELDS), max_size=2)):
            one[name] = draw(st.sampled_from(SENSIBLE.get(name, [MARKER])) | VALUES)
        one.pop(draw(st.sampled_from([*FIELDS[:5], *FIELDS[-1:] * 20])), None)
        events.append(one)
    found = _json({"events": events})
    if draw(st.integers(0, 4)) == 4:
        found = _json({"reason": MARKER} | ({"event": events[0]} if events else {}))
    if draw(st.integers(0, 9)) == 9 and found:
        at = draw(st.integers(0, len(found) - 1))
        found = found[:at] + draw(st.binary(max_size=3)) + found[at + draw(st.integers(0, 3)) :]
    return found


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request, mostly whole, to some route by some method with odd headers."""
    method, path = draw(st.sampled_from(ROUTES))
    if path.endswith("/"):
        path += draw(SEGMENTS)
    if draw(st.integers(0, 9)) == 9:
        method = draw(st.sampled_from(METHODS))
    body = draw(bodies()) if method != "GET" or draw(st.integers(0, 9)) == 9 else b""
    headers = [
        draw(st.sampled_from(HEADERS)) + b": " + draw(HEADER_VALUES)
        for _ in range(draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1, 1, 3])))
    ]
    key = draw(st.sampled_from([*[API_KEY] * 8, OTHER_KEY, OTHER_KEY, MARKER, "", None]))
    if body and draw(st.integers(0, 5)) == 5:
        headers.append(b"transfer-encoding: chunked")
        return request(method, path, chunked(body, 16), *headers, key=key, length=False)
    data = request(method, path, body, *headers, key=key)
    if draw(st.integers(0, 9)) == 9:
        at = draw(st.integers(0, len(data) - 1))
        data = data[:at] + draw(st.binary(max_size=4)) + data[at + 1 :]
    return data


@pytest.fixture
def chosen_seed() -> int:
    chosen = int(os.environ.get("CRASH_SEED") or random.randrange(2**32))
    print(f"CRASH_SEED={chosen}")
    return chosen


@pytest.fixture(scope="module")
def customers(hosted_settings: GatewaySettings) -> Iterator[None]:
    with psycopg.connect(hosted_settings.database_url, autocommit=True) as connection:
        add_customer(connection, "other", OTHER_KEY)
        for number, owner in enumerate(["cust", "other"] * 3):
            connection.execute(
                'INSERT INTO "DeadLetter" (partition, epoch, "offset", index, customer_id, '
                "event_id, reason, message, payload, found_by) VALUES "
                "(0, 0, %s, 0, %s, 'x', 'BAD_SCHEMA', 'm', %s, 'streams')",
                [number, owner, _json({"note": f"of {owner}"})],
            )
        yield


def _ask(hosted: HostedGateway, data: bytes) -> Answer | None:
    """Return the answer; of what is no whole request the gateway would wait for the rest."""
    with hosted.connect() as caller, suppress(OSError):
        caller.sendall(data)
        caller.settimeout(PATIENCE_SECONDS)
        with suppress(TimeoutError):
            return read_answer(caller)
    return None


def _fuzz(hosted: HostedGateway, examples: int, chosen: int) -> int:
    """Run the fuzzer; return how many requests were answered."""
    answered = 0

    @seed(chosen)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests())
    def one(data: bytes) -> None:
        nonlocal answered
        answer = _ask(hosted, data)
        if answer is None:
            return
        answered += 1
        check_answer(answer)
        if API_KEY.encode() not in data and OTHER_KEY.encode() in data:
            assert b"of cust" not in answer.body
        if API_KEY.encode() in answer.body or OTHER_KEY.encode() in answer.body:
            raise AssertionError("an answer tells a key")

    one()
    return answered


def _keeps_the_law(hosted: HostedGateway, examples: int, chosen: int) -> None:
    _fuzz(hosted, WARM_UP_EXAMPLES, chosen)
    before = hosted.rss_bytes()
    answered = _fuzz(hosted, examples, chosen + 1)
    growth = hosted.rss_bytes() - before
    print(f"{answered} of {examples} answered, {growth >> 10} KiB more memory")

    assert answered > examples // 2
    assert growth < GROWTH_BYTES_MAX
    hosted.check_log(OTHER_KEY)


@pytest.mark.usefixtures("customers")
@pytest.mark.timeout(240)
def test_every_route_keeps_the_law(hosted: HostedGateway, chosen_seed: int) -> None:
    """Some hundred requests of a fresh seed."""
    _keeps_the_law(hosted, EXAMPLES, chosen_seed)


@pytest.mark.whole
@pytest.mark.usefixtures("customers")
@pytest.mark.timeout(3_600)
def test_every_route_keeps_the_law_for_long(hosted: HostedGateway, chosen_seed: int) -> None:
    """Some ten thousand: what leaks a little shows, too."""
    _keeps_the_law(hosted, WHOLE_EXAMPLES, chosen_seed)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello",
        b"GET /metrics?name[]=%ff HTTP/1.1\r\nhost: x\r\naccept: \xff\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        MARKER.encode() + b"\r\n\r\n",
    ],
)
def test_metrics_port_fails_at_nothing(hosted: HostedGateway, data: bytes) -> None:
    """It is nobody's but the operator's; odd bytes still find no 500 and reach no log."""
    with socket.create_connection(("127.0.0.1", hosted.metrics_port), 30) as caller:
        caller.sendall(data)
        caller.shutdown(socket.SHUT_WR)
        head = caller.recv(100)

    assert b" 500 " not in head
    hosted.check_log()


def test_metrics_port_says_in_one_line_that_a_caller_hung_up(hosted: HostedGateway) -> None:
    """A connection that is reset amid its request is no error of ours, and no traceback."""
    with socket.create_connection(("127.0.0.1", hosted.metrics_port), 30) as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.sendall(b"GET /metrics")
    wait_until(
        lambda: any("hung up" in str(one) for one in hosted.log()), 10, "a line about the caller"
    )

    hosted.check_log()


def test_causes_of_503_are_documented() -> None:
    """docs/produce.md names what a 503 may name."""
    page = (Path(__file__).parents[3] / "docs" / "produce.md").read_text()

    assert [one for one in sorted(CAUSES_OF_503) if f"`{one}`" not in page] == []

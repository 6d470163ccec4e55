"""A gateway as a process, and callers that speak to it in bytes of their own choosing."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from deploy.local.ports import free_port
from deploy.local.servers import REPOSITORY
from gateway.settings import GatewaySettings
from tests.unit.gateway.fakes import API_KEY, EVENT
from tests.waiting import wait_until

START_SECONDS = 60.0
ANSWER_SECONDS = 30.0
CAUSES_OF_503 = {"database", "queue", "memory"}
CODES = {"VALIDATION_ERROR", "UNAUTHORIZED", "FORBIDDEN", "NOT_FOUND", "SERVICE_UNAVAILABLE"}
# Stands in ids, metadata and headers; must come out nowhere.
MARKER = "m4rk3r-of-a-secret"
_STATUS_LINE = re.compile(rb"HTTP/\d\.\d (\d{3}) ")


@dataclass
class Answer:
    """One answer: status, headers by lower-case name, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as values."""
        return json.loads(self.body)


@dataclass
class HostedGateway:
    """A running `python -m gateway`."""

    port: int
    metrics_port: int
    process: subprocess.Popen[bytes]
    log_path: Path

    def connect(self, timeout_seconds: float = ANSWER_SECONDS) -> socket.socket:
        """Return a connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout_seconds)

    def send(self, data: bytes) -> Answer | None:
        """Send bytes over a connection of their own; return the first answer, if one comes."""
        with self.connect() as caller:
            # It may be answered before all of it was read.
            with suppress(ConnectionResetError, BrokenPipeError):
                caller.sendall(data)
            return read_answer(caller)

    def rss_bytes(self) -> int:
        """Return how much memory the process holds."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of its log so far."""
        lines = self.log_path.read_text().splitlines()
        return [json.loads(line) if line.startswith("{") else {"line": line} for line in lines]

    def check_log(self, *secrets: str) -> None:
        """Assert that no line tells a secret, an error or a traceback."""
        text = self.log_path.read_text()
        told = [one for one in (API_KEY, MARKER, *secrets) if one in text]
        assert told == []
        assert "Traceback" not in text
        bad = [one for one in self.log() if one.get("level") in {"error", "critical"}]
        assert bad == []


@contextmanager
def hosted_gateway(
    settings: GatewaySettings, folder: Path, **changed: str
) -> Iterator[HostedGateway]:
    """Run a gateway over the test's servers, telling everything that it can tell."""
    port, metrics_port = free_port(), free_port()
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "TOPIC_PREFIX": settings.topic_prefix,
        "RATE_LIMIT_MAX": "1000000",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "METRICS_PORT": str(metrics_port),
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "DEBUG",
        "DATABASE_TIMEOUT_SECONDS": "20",
        "PRODUCE_TIMEOUT_SECONDS": "20",
    }
    log_path = folder / f"gateway-{port}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            env=os.environ | environment | changed,
            cwd=REPOSITORY,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    gateway = HostedGateway(port, metrics_port, process, log_path)
    try:
        wait_until(lambda: _is_ready(gateway), START_SECONDS, "the gateway is ready")
        yield gateway
        assert process.poll() is None, log_path.read_text()[-2000:]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(gateway: HostedGateway) -> bool:
    assert gateway.process.poll() is None, gateway.log_path.read_text()[-2000:]
    try:
        answer = gateway.send(request("GET", "/ready"))
    except OSError:
        return False
    return answer is not None and answer.status == 200


def read_answer(caller: socket.socket) -> Answer | None:
    """Return the next whole answer, None when the connection ends before one."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = _receive(caller)
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    found = _STATUS_LINE.match(head)
    assert found, head
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head.decode().split("\r\n")[1:])
    }
    if found[1] == b"100":
        return read_answer(caller)
    while len(body) < int(headers.get("content-length", "0")):
        part = _receive(caller)
        if not part:
            break
        body += part
    return Answer(int(found[1]), headers, body)


def _receive(caller: socket.socket) -> bytes:
    try:
        return caller.recv(1 << 16)
    except ConnectionResetError:
        return b""


def request(
    method: str,
    path: str | bytes,
    body: bytes = b"",
    *headers: bytes,
    key: str | None = API_KEY,
    length: bool = True,
) -> bytes:
    """Return the bytes of a request: as a rule a good one, with more header lines where given."""
    target = path if isinstance(path, bytes) else path.encode()
    lines = [method.encode() + b" " + target + b" HTTP/1.1", b"host: gateway"]
    if key is not None:
        lines.append(b"x-api-key: " + key.encode())
    if body or method == "POST":
        lines.append(b"content-type: application/json")
        if length:
            lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join([*lines, *headers]) + b"\r\n\r\n" + body


def ingest(body: bytes, *headers: bytes, **options: Any) -> bytes:
    """Return the bytes of a request that posts events."""
    return request("POST", "/v1/events/ingest", body, *headers, **options)


def chunked(body: bytes, size: int = 64) -> bytes:
    """Return a body in chunks."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def event(number: int, **fields: Any) -> dict[str, Any]:
    """Return an event with an id of its own."""
    return EVENT | {"event_id": f"550e8400-e29b-41d4-a716-{number:012x}"} | fields


def batch(*events: dict[str, Any]) -> bytes:
    """Return the body of a batch."""
    return json.dumps({"events": events}).encode()


def check_answer(answer: Answer) -> None:
    """Assert the law: JSON as documented, never our failure but a named outage."""
    assert answer.headers["content-type"].startswith("application/json"), answer
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "python" not in answer.headers.get("server", "").lower()
    assert answer.status < 500 or answer.status == 503, answer
    if answer.status < 400 or not answer.body:
        return
    body = answer.json()
    if "statusCode" in body:
        assert body["statusCode"] == answer.status
    elif body.get("status") != "not_ready":
        assert body["error"] in CODES
    if answer.status == 503 and "cause" in body:
        assert body["cause"] in CAUSES_OF_503

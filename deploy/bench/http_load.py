"""Load over HTTP/1.1 that costs little itself: requests are bytes before the clock starts."""

import asyncio
import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, NamedTuple

from deploy.bench.arena import MeasurementError, api_key
from deploy.bench.workload import RawRecord
from deploy.local.ports import LOOPBACK

ACCEPTED = b"202"
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Answer(NamedTuple):
    """When a request was to be sent and when its answer was there; seconds of the clock."""

    due: float
    answered: float

    @property
    def seconds(self) -> float:
        """How long the caller waited; a request that had to wait for its turn waits, too."""
        return self.answered - self.due


def request_of(record: RawRecord) -> bytes:
    """Return the request that ingests a record's events."""
    value = record.value
    body = value if value.startswith(b'{"events":') else b'{"events":[' + value + b"]}"
    head = (
        f"POST /v1/events/ingest HTTP/1.1\r\nHost: {LOOPBACK}\r\n"
        f"X-API-Key: {api_key(record.key.decode())}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Connection(asyncio.Protocol):
    """One request at a time over a connection that stays open."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(_HEAD_END)
        if head_end < 0 or self._answer is None:
            return
        head = bytes(self._received[:head_end]).lower()
        at = head.index(_LENGTH) + len(_LENGTH)
        length = int(head[at:].split(b"\r\n", 1)[0])
        if len(self._received) >= head_end + len(_HEAD_END) + length:
            answer = bytes(self._received)
            self._received.clear()
            self._answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(MeasurementError(f"the gateway hung up: {exc!r}"))

    async def send(self, request: bytes) -> None:
        """Send a request and wait for its 202. Raises MeasurementError."""
        if self._transport is None:
            raise AssertionError("sent before it was connected")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        answer = await self._answer
        if answer[9:12] != ACCEPTED:
            raise MeasurementError(f"the gateway answers {answer[:400]!r}")

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


async def _connect(port: int, count: int) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(_Connection, LOOPBACK, port) for _ in range(count)]
    return [connection for _, connection in made]


def _run(posting: Coroutine[Any, Any, list[Answer]]) -> list[Answer]:
    try:
        return asyncio.run(posting)
    except* MeasurementError as errors:
        raise MeasurementError(str(errors.exceptions[0])) from None


def post_all(port: int, requests: Sequence[bytes], connections: int) -> list[Answer]:
    """Post each request once, each connection taking the next as soon as it has its answer."""
    return _run(_post_all(port, requests, connections))


async def _post_all(port: int, requests: Sequence[bytes], connections: int) -> list[Answer]:
    answers: list[Answer] = []
    waiting = iter(requests)

    async def work(connection: _Connection) -> None:
        for request in waiting:
            due = time.time()
            await connection.send(request)
            answers.append(Answer(due, time.time()))

    opened = await _connect(port, connections)
    try:
        async with asyncio.TaskGroup() as group:
            for connection in opened:
                group.create_task(work(connection))
    finally:
        for connection in opened:
            connection.close()
    return answers


def post_at_rate(
    port: int, requests: Sequence[bytes], per_second: float, connections: int
) -> list[Answer]:
    """Post each request when it is due, whatever became of those before; answers in their order."""
    return _run(_post_at_rate(port, requests, per_second, connections))


async def _post_at_rate(
    port: int, requests: Sequence[bytes], per_second: float, connections: int
) -> list[Answer]:
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    opened = await _connect(port, connections)
    for connection in opened:
        free.put_nowait(connection)
    answers = [Answer(0.0, 0.0)] * len(requests)
    begun = time.time()

    async def post(number: int, due: float) -> None:
        connection = await free.get()
        await connection.send(requests[number])
        answers[number] = Answer(due, time.time())
        free.put_nowait(connection)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(len(requests)):
                due = begun + number / per_second
                await asyncio.sleep(max(0.0, due - time.time()))
                group.create_task(post(number, due))
    finally:
        for connection in opened:
            connection.close()
    return answers


def requests_of(records: Iterable[RawRecord]) -> list[bytes]:
    """Return the requests of all records."""
    return [request_of(record) for record in records]

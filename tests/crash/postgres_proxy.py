"""A TCP proxy before Postgres that cuts connections: all of them, or a sink's at its COMMIT.

Cut *before*, Postgres never saw the COMMIT and rolls back; cut *after*, it has committed, but the
answer is lost. A sink sees the same in both cases: a connection that broke while committing.
"""

import asyncio
import contextlib
import re
import threading
from collections import Counter
from enum import Enum
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from deploy.local.ports import LOOPBACK, free_port
from sinks.postgres import APPLICATION_NAME

CHUNK_BYTES = 1 << 16
_TEXT = b"COMMIT\x00"
_PLAIN_COMMIT = b"Q\x00\x00\x00\x0b" + _TEXT
_COMMITTED = b"C\x00\x00\x00\x0b" + _TEXT
# After a few times the client prepares the statement and sends its name alone.
_PREPARE = re.compile(rb"P.{4}([^\x00]+)\x00COMMIT\x00", re.DOTALL)
_BIND = re.compile(rb"B.{4}\x00([^\x00]+)\x00", re.DOTALL)


class Cut(Enum):
    """Where a connection is cut."""

    BEFORE = "before Postgres saw the COMMIT"
    AFTER = "after Postgres committed, before its answer"


class _Link:
    """One client's connection and ours to Postgres on its behalf."""

    def __init__(
        self, client: asyncio.StreamWriter, server: asyncio.StreamWriter, *, is_sink: bool = False
    ) -> None:
        self.client = client
        self.server = server
        self.is_sink = is_sink
        self._commits: set[bytes] = set()  # names of prepared COMMITs

    def has_commit(self, data: bytes) -> bool:
        """Whether the client asks for a COMMIT here; notes what it prepares."""
        self._commits.update(_PREPARE.findall(data))
        return _PLAIN_COMMIT in data or not self._commits.isdisjoint(_BIND.findall(data))

    def cut(self) -> None:
        """Break both connections at once, unsent bytes and all."""
        self.client.transport.abort()
        self.server.transport.abort()


class PostgresProxy:
    """Runs in a thread of its own. A context manager; `url` stands for the database's own."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        if parts.hostname is None or parts.port is None:
            raise AssertionError(f"no host and port in {database_url}")
        self._target = (parts.hostname, parts.port)
        self._port = free_port()
        login = parts.netloc.rpartition("@")[0]
        self.url = urlunsplit(parts._replace(netloc=f"{login}@{LOOPBACK}:{self._port}"))
        self.cuts: Counter[Cut] = Counter()
        self._armed: Cut | None = None
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._is_open = threading.Event()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="postgres-proxy", daemon=True)

    def arm(self, cut: Cut | None) -> None:
        """From now on cut every COMMIT of a sink there; None: no more."""
        self._armed = cut

    def cut_all(self) -> None:
        """Break every connection that stands now."""
        self._loop.call_soon_threadsafe(self._cut_all)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._is_open.wait(timeout=10):
            raise AssertionError("the proxy does not listen")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with await asyncio.start_server(self._serve_client, LOOPBACK, self._port):
            self._is_open.set()
            await self._closing.wait()
            self._cut_all()

    def _cut_all(self) -> None:
        for link in list(self._links):
            link.cut()

    async def _serve_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            server_reader, server = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, server)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pass_requests(reader, link), self._pass_answers(server_reader, link)
            )
        finally:
            self._links.discard(link)
            link.cut()

    async def _pass_requests(self, reader: asyncio.StreamReader, link: _Link) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                # The name comes in the clear, in the first message.
                link.is_sink = link.is_sink or APPLICATION_NAME.encode() in data
                has_commit = link.is_sink and link.has_commit(data)
                if has_commit and self._armed is Cut.BEFORE:
                    self._cut_at_commit(link, Cut.BEFORE)
                    return
                link.server.write(data)
                await link.server.drain()
        link.cut()

    async def _pass_answers(self, reader: asyncio.StreamReader, link: _Link) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if link.is_sink and self._armed is Cut.AFTER and _COMMITTED in data:
                    self._cut_at_commit(link, Cut.AFTER)
                    return
                link.client.write(data)
                await link.client.drain()
        # What Postgres said last, why it ends the session, still reaches the client.
        link.client.close()
        link.server.transport.abort()

    def _cut_at_commit(self, link: _Link, cut: Cut) -> None:
        self.cuts[cut] += 1
        link.cut()

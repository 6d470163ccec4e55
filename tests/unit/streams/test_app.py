"""A worker that has not begun yet: Kafka is away, or there are no prices."""

import asyncio
import socket
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from streams import app as app_module
from streams.app import StreamsWorker
from streams.metrics import Metrics
from streams.price_book import TopicFollower
from streams.settings import StreamsSettings
from tests.unit.streams.raw_records import price_record


def make_worker(folder: Path, port: int) -> StreamsWorker:
    settings = StreamsSettings(kafka_bootstrap_servers=f"127.0.0.1:{port}", prices_wait_seconds=600)
    return StreamsWorker(settings, folder, Metrics(CollectorRegistry()))


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def test_a_worker_that_waits_for_kafka_stops_when_asked(
    tmp_path: Path, closed_port: int
) -> None:
    """A signal at the start ends it at once, not after Kafka has come."""
    stopping = asyncio.Event()
    running = asyncio.create_task(make_worker(tmp_path, closed_port).run(stopping))
    asyncio.get_running_loop().call_later(0.2, stopping.set)
    async with asyncio.timeout(5):
        await running


async def test_a_worker_that_waits_for_prices_stops_when_asked(
    tmp_path: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the wait for a first price list ends with a signal."""
    waiting = asyncio.Event()

    async def nothing(*_: object) -> None: ...

    async def follow(_: TopicFollower) -> None:
        waiting.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(app_module, "_start_producer", nothing)
    monkeypatch.setattr(app_module, "wait_for_topics", nothing)
    monkeypatch.setattr(TopicFollower, "read_whole", nothing)
    monkeypatch.setattr(TopicFollower, "follow_for_ever", follow)
    stopping = asyncio.Event()
    async with asyncio.timeout(5):
        running = asyncio.create_task(make_worker(tmp_path, closed_port).run(stopping))
        await waiting.wait()
        assert not running.done()
        stopping.set()
        await running


async def test_an_empty_price_list_is_one(tmp_path: Path, closed_port: int) -> None:
    """A publication of revision 0 is complete: nobody waits for another."""
    worker = make_worker(tmp_path, closed_port)
    worker._take_price(b"revision", price_record(0, {}))
    async with asyncio.timeout(5):
        await worker._wait_for_prices()


async def test_rows_without_their_revision_are_no_price_list(
    tmp_path: Path, closed_port: int
) -> None:
    """Half a publication ends no wait."""
    worker = make_worker(tmp_path, closed_port)
    worker._take_price(b"cost:in", price_record(3, {}, deleted=True))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await worker._wait_for_prices()

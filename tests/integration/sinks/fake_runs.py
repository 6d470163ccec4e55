"""Runs as the consumer hands them over, without Kafka: fed to a `SinkAgent` by a test."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, Self

from schemas.rated import RatedBatch, encode_batch
from sinks.agent import SinkAgent


class FakeRun:
    """One run of records; counts what becomes of it."""

    def __init__(self, first_offset: int, *batches: RatedBatch) -> None:
        self.partition = batches[0].partition
        self.first_offset = first_offset
        self.next_offset = first_offset + len(batches)
        self.records: Any = [
            SimpleNamespace(offset=offset, value=encode_batch(one))
            for offset, one in enumerate(batches, start=first_offset)
        ]
        self.is_current = True
        self.acknowledged = asyncio.Event()
        self.released = False

    def ack(self) -> None:
        """Everything in the run is done."""
        self.acknowledged.set()

    def release(self) -> None:
        """Put the run away undone."""
        self.released = True


class FakeConsumer:
    """Notes what the agent asks of its consumer."""

    def __init__(self) -> None:
        self.resumed: list[int] = []

    def resume_again(self, partition: int) -> None:
        """Note that the position is asked for again."""
        self.resumed.append(partition)


class Fed:
    """An agent at work on runs that a test feeds. A context manager."""

    def __init__(self, agent: SinkAgent) -> None:
        self.agent = agent
        self.consumer = FakeConsumer()
        agent.consumer = self.consumer
        self._runs: asyncio.Queue[FakeRun] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.agent.process(self._hand_over()))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _hand_over(self) -> AsyncIterator[Any]:
        while True:
            yield await self._runs.get()

    def feed(self, run: FakeRun) -> FakeRun:
        """Hand a run over."""
        self._runs.put_nowait(run)
        return run

    async def apply(self, run: FakeRun, timeout_seconds: float = 20.0) -> None:
        """Hand a run over and wait until it is acknowledged."""
        self.feed(run)
        async with asyncio.timeout(timeout_seconds):
            await run.acknowledged.wait()

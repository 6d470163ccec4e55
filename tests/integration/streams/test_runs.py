"""The consumer by runs, by itself: order, seeks, rebalances, failures."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from deploy.runtime.runs import Run, RunsApp, RunsConfig, build_app
from deploy.runtime.serve import serve
from tests.integration.streams.raw_topic import PARTITIONS, Pipeline
from tests.waiting import wait_until_async


class Reader:
    """An app that notes what it gets and where it stands, per partition."""

    def __init__(self, pipeline: Pipeline, folder: Path, **sizes: Any) -> None:
        self.positions = dict.fromkeys(range(PARTITIONS), 0)
        self.offsets: dict[int, list[int]] = {number: [] for number in range(PARTITIONS)}
        self.resumed: list[int] = []
        self.forgotten: list[int] = []
        config = RunsConfig(
            group=pipeline.topics.prefix + "readers",
            topic=pipeline.topics.raw,
            client={"bootstrap_servers": pipeline.bootstrap},
            folder=folder,
            session_timeout_seconds=6,
            **sizes,
        )
        self.app: RunsApp = build_app(
            config, resume_at=self.resume_at, process=self.process, forget=self.forgotten.append
        )
        self.runs: list[int] = []

    async def resume_at(self, partition: int) -> int:
        self.resumed.append(partition)
        return self.positions[partition]

    async def process(self, runs: AsyncIterator[Run]) -> None:
        async for run in runs:
            assert run.first_offset == self.positions[run.partition]
            self.positions[run.partition] = run.next_offset
            self.offsets[run.partition] += [record.offset for record in run.records]
            self.runs.append(len(run.records))
            run.ack()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Reader"]:
        stopping = asyncio.Event()
        task = asyncio.create_task(serve(self.app, grace_seconds=20, stopping=stopping))
        try:
            yield self
        finally:
            stopping.set()
            await task

    async def up_to(self, *ends: int) -> None:
        """Wait until both partitions are read."""

        async def is_read() -> bool:
            return list(self.positions.values()) == list(ends)

        await wait_until_async(is_read, 20, f"read up to {ends}")


async def test_runs_keep_the_order_and_their_bounds(pipeline: Pipeline, tmp_path: Path) -> None:
    """Every record comes once, in order, in runs closed by count; offsets done are committed."""
    for partition in (0, 1):
        await pipeline.write(*[b"x" * 100] * 500, partition=partition)
    reader = Reader(pipeline, tmp_path, run_records_max=64, buffered_bytes_max=10_000)
    async with reader.running():
        await reader.up_to(500, 500)
        assert reader.offsets == {0: list(range(500)), 1: list(range(500))}
        assert max(reader.runs) == 64

        async def has_no_lag() -> bool:
            return reader.app.lag() == {0: 0, 1: 0}

        await wait_until_async(has_no_lag, 10, "no lag is left")
    again = Reader(pipeline, tmp_path / "again")
    async with again.running():
        await again.up_to(500, 500)


async def test_seek_back_voids_what_was_handed_over(pipeline: Pipeline, tmp_path: Path) -> None:
    """After `seek_back` and after `resume_again` the partition goes on exactly where it should."""
    await pipeline.write(*[b"x" * 100] * 400)
    reader = Reader(pipeline, tmp_path, run_records_max=10)
    async with reader.running():
        await reader.up_to(400, 0)
        reader.positions[0] = 37
        reader.app.seek_back(0, 37)
        await reader.up_to(400, 0)
        reader.positions[0] = 390
        reader.app.resume_again(0)
        await reader.up_to(400, 0)
    assert reader.offsets[0] == [*range(400), *range(37, 400), *range(390, 400)]


async def test_a_rebalance_asks_again_where_to_go_on(pipeline: Pipeline, tmp_path: Path) -> None:
    """A partition given away is forgotten, and whoever gets it is asked for its position."""
    first, second = Reader(pipeline, tmp_path / "1"), Reader(pipeline, tmp_path / "2")
    await pipeline.write(b"x", partition=0)
    await pipeline.write(b"x", partition=1)
    async with first.running():
        await first.up_to(1, 1)
        second.positions = first.positions
        async with second.running():

            async def is_shared() -> bool:
                return len(second.app.assigned()) == len(first.app.assigned()) == 1

            await wait_until_async(is_shared, 20, "each has a partition")
            assert first.forgotten == list(second.app.assigned())
            await pipeline.write(b"x", partition=0)
            await pipeline.write(b"x", partition=1)
            await first.up_to(2, 2)
        await pipeline.write(b"x", partition=0)
        await pipeline.write(b"x", partition=1)
        await first.up_to(3, 3)


@pytest.mark.parametrize(
    ("where", "words"), [("agent", "cannot do 0"), ("resume", "no position of")]
)
async def test_a_failure_ends_the_process_uncommitted(
    pipeline: Pipeline, tmp_path: Path, where: str, words: str
) -> None:
    """What could not be done is not acknowledged: the process ends at once, for a new one."""
    await pipeline.write(b"x")
    group = pipeline.topics.prefix + "failing"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.integration.streams.failing_reader"),
        *(group, pipeline.topics.raw, pipeline.bootstrap, str(tmp_path), where),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 70
    assert words in output.decode()
    admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.bootstrap)
    await admin.start()
    committed = await admin.list_consumer_group_offsets(group)
    await admin.close()
    assert committed == {}

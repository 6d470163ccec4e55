"""Workers with lasting names in their group: a restart is no rebalance."""

import asyncio
import re
from collections.abc import Callable

import pytest

from tests.integration.streams.conftest import StartProcess, has_folded
from tests.integration.streams.raw_topic import Pipeline, numbers_of
from tests.system import Worker
from tests.unit.streams.raw_records import event
from tests.waiting import wait_until_async

SESSION_SECONDS = "20"  # A restart of a process fits in, on a busy machine, too.


def rebalances(worker: Worker) -> float:
    """How often partitions were shared out to a worker since it started."""
    name = "burnstream_streams_rebalances_total"
    found = re.search(rf"^{name} (\S+)$", worker.metrics(), re.MULTILINE)
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize("end", [Worker.stop, Worker.kill], ids=["stopped", "killed"])
async def test_a_restart_is_no_rebalance(
    pipeline: Pipeline, start_process: StartProcess, end: Callable[[Worker], object]
) -> None:
    """A worker back within its session has the partition that it had; the other one goes on."""
    one, other = (
        start_process(n, GROUP_INSTANCE_ID=f"streams-{n}", SESSION_TIMEOUT_SECONDS=SESSION_SECONDS)
        for n in (0, 1)
    )
    for worker in (one, other):
        await asyncio.to_thread(has_folded, worker)
    for partition in (0, 1):
        await pipeline.write(event(0), event(1), partition=partition)
    await pipeline.rated_up_to({0: 2, 1: 2})
    before = rebalances(other)

    await asyncio.to_thread(end, one)
    for partition in (0, 1):
        await pipeline.write(event(1), event(2), partition=partition)
    one.start()

    accepted = await pipeline.rated_up_to({0: 4, 1: 4})
    for partition in (0, 1):
        assert numbers_of(accepted[partition].charged_ids()) == [0, 1, 2]
    assert rebalances(other) == before
    assert one.log.count("Partition folded") == 1


async def test_two_of_one_name(pipeline: Pipeline, start_process: StartProcess) -> None:
    """A mistake that costs time alone: they take the partitions from each other, again and again.

    aiokafka's heartbeats do not say the name, so that the broker does not fence the first one.
    """
    one, other = (
        start_process(n, GROUP_INSTANCE_ID="streams-0", SESSION_TIMEOUT_SECONDS="6") for n in (0, 1)
    )
    for worker in (one, other):
        await asyncio.to_thread(has_folded, worker)
    count = 0

    async def both_had_them_often() -> bool:
        nonlocal count
        for partition in (0, 1):
            await pipeline.write(event(count), partition=partition)
        count += 1
        return all([await asyncio.to_thread(rebalances, each) >= 3 for each in (one, other)])

    await wait_until_async(both_had_them_often, 60, "both had the partitions three times")
    accepted = await pipeline.rated_up_to({0: count, 1: count})
    for partition in (0, 1):
        assert numbers_of(accepted[partition].charged_ids()) == list(range(count))
    assert one.pid is not None
    assert other.pid is not None

from typing import Any

import pytest

from schemas.topics import Topics
from streams.log_watch import LogWatch
from streams.seen import SeenPartition
from tests.unit.streams.raw_records import WINDOW_MS

TOPICS = Topics("")


class Worker:
    """App, table and reader of one partition: its fold stands at rated offset 5, position 50."""

    def __init__(self) -> None:
        self.rated_end, self.raw_end = 5, 60
        self.folded_again = 0
        self.state = SeenPartition(WINDOW_MS)
        self.state.fold.start_at(50)
        self.state.rated_offset = 5

    def assigned(self) -> set[int]:
        return {0}

    def resume_again(self, partition: int) -> None:
        self.folded_again += partition == 0

    def partition(self, number: int) -> SeenPartition:
        assert number == 0
        return self.state

    async def ends(self, topic: str, partitions: list[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, self.raw_end if topic == TOPICS.raw else self.rated_end)


def watch(worker: Any) -> LogWatch:
    return LogWatch(worker, worker, worker, TOPICS)


async def test_logs_where_they_were_left_are_left_alone() -> None:
    """Raw records that wait are no reason to fold again."""
    worker = Worker()
    one = watch(worker)
    for _ in range(3):
        await one.look()
    assert worker.folded_again == 0


@pytest.mark.parametrize(("rated_end", "raw_end"), [(6, 60), (3, 60), (5, 49)])
async def test_a_quiet_partition_whose_logs_moved_is_folded_again(
    rated_end: int, raw_end: int
) -> None:
    """A decision of an operator, or a lost end, does not wait for the next record."""
    worker = Worker()
    one = watch(worker)
    worker.rated_end, worker.raw_end = rated_end, raw_end
    await one.look()
    assert worker.folded_again == 0
    await one.look()
    assert worker.folded_again == 1


async def test_a_partition_at_work_is_left_alone() -> None:
    """A batch that is acknowledged in a moment looks strange only once."""
    worker = Worker()
    one = watch(worker)
    for _ in range(4):
        worker.rated_end += 1
        await one.look()
        worker.state.rated_offset += 1
    assert worker.folded_again == 0

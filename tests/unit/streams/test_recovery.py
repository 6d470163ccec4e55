from array import array
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest
from prometheus_client import CollectorRegistry

from schemas.rated import FOLD_HEADER, TOTALS_HEADER, Fold, Kind, pack_fold
from schemas.topics import Topics
from streams.errors import LogMadeAgainError
from streams.metrics import Metrics
from streams.recovery import Recovery
from streams.seen import SeenPartition
from tests.unit.streams.raw_records import HOUR_MS, NOW_MS, WINDOW_MS, RawRecord

if TYPE_CHECKING:
    from streams.burns import Burns
    from streams.log_reader import LogReader
    from streams.seen import SeenTable

TOPICS = Topics("")
LATE_MS = NOW_MS + 10 * WINDOW_MS


@dataclass(frozen=True)
class RatedRecord:
    """What aiokafka hands over of a rated batch without events."""

    offset: int
    first: int
    following: int
    ms: int

    @property
    def timestamp(self) -> int:
        return self.ms

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        times = [(self.first, self.ms)]
        fold = Fold(Kind.RATED, self.first, self.following, times, array("q"), b"")
        return [(FOLD_HEADER, pack_fold(fold)), (TOTALS_HEADER, b"[]")]


class Logs:
    """The two logs of a partition."""

    def __init__(
        self,
        *rated: RatedRecord,
        rated_end: int = 0,
        raw: tuple[int, int] = (0, 1_000),
        tip: RawRecord | None = None,
    ) -> None:
        self._rated, self._raw, self._tip = rated, raw, tip
        self._rated_end = rated[-1].offset + 1 if rated else rated_end
        self.stretches: list[tuple[int, int]] = []

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        del partition
        if topic == TOPICS.raw:
            return self._raw
        return self._rated[0].offset if self._rated else self._rated_end, self._rated_end

    async def first_at(self, topic: str, partition: int, offset: int, seconds: float) -> Any:
        del partition, seconds
        if topic == TOPICS.raw:
            return self._tip
        return next((one for one in self._rated if one.offset >= offset), None)

    async def offset_at(self, topic: str, partition: int, ms: int) -> int | None:
        del topic, partition
        return next((one.offset for one in self._rated if one.ms >= ms), None)

    async def stretch(
        self, topic: str, partition: int, start: int, end: int
    ) -> AsyncIterator[Sequence[RatedRecord]]:
        del topic, partition
        self.stretches.append((start, end))
        yield [one for one in self._rated if start <= one.offset < end]


class NoBurns:
    """Burns that were published whole."""

    async def load(self, partition: int) -> None:
        del partition

    def folded_to(self, partition: int) -> int:
        del partition
        return 1 << 40

    def forget(self, partition: int) -> None:
        del partition


class Table:
    """`seen` of the partition."""

    window_ms = WINDOW_MS

    def __init__(self) -> None:
        self._state = SeenPartition(WINDOW_MS)

    def partition(self, number: int) -> SeenPartition:
        del number
        return self._state

    def forget(self, number: int) -> None:
        del number
        self._state = SeenPartition(WINDOW_MS)


async def resume_at(logs: Logs) -> int:
    """Return where a new worker goes on."""
    recovery = Recovery(
        cast("SeenTable", Table()),
        cast("Burns", NoBurns()),
        cast("LogReader", logs),
        TOPICS,
        Metrics(CollectorRegistry()),
    )
    return await recovery.resume_at(0)


@pytest.mark.parametrize("rated_end", [0, 7])
async def test_without_rated_batches_a_partition_begins_where_the_raw_log_does(
    rated_end: int,
) -> None:
    """Never rated, or rated too long ago: what is held is rated again, and sinks clip it."""
    assert await resume_at(Logs(rated_end=rated_end, raw=(300, 400))) == 300


async def test_a_log_that_lost_its_first_batches_begins_with_what_is_left() -> None:
    """The first record's start is the beginning, whatever its offset."""
    logs = Logs(RatedRecord(3, 500, 550, NOW_MS), RatedRecord(4, 550, 560, NOW_MS))
    assert await resume_at(logs) == 560


async def test_what_the_raw_log_holds_below_the_first_batch_of_a_whole_log_is_rated() -> None:
    """The log lost its end once, all of it, and a worker that did not know wrote on."""
    assert await resume_at(Logs(RatedRecord(0, 300, 400, NOW_MS), raw=(200, 1_000))) == 200


async def test_a_worker_finds_its_first_batch_though_the_raw_log_began_late() -> None:
    """What a worker wrote that began above 0 is the beginning for the next one, too."""
    assert await resume_at(Logs(RatedRecord(0, 300, 400, NOW_MS), raw=(350, 1_000))) == 400


async def test_a_hole_in_the_unsettled_stretch_is_found_by_folding_the_whole_log() -> None:
    """[550, 600) was lost: sinks stand at 550, and so does the worker that comes days later."""
    early_ms = LATE_MS - WINDOW_MS - HOUR_MS // 2
    logs = Logs(
        RatedRecord(0, 0, 500, NOW_MS),
        RatedRecord(1, 500, 550, NOW_MS),
        RatedRecord(2, 600, 650, early_ms),
        RatedRecord(3, 650, 700, LATE_MS),
    )
    assert await resume_at(logs) == 550
    assert logs.stretches == [(1, 4), (0, 4)]


async def test_the_usual_fold_begins_a_window_ago() -> None:
    """Without a hole nothing older is read."""
    logs = Logs(*(RatedRecord(n, n * 10, n * 10 + 10, NOW_MS + n * WINDOW_MS) for n in range(9)))
    assert await resume_at(logs) == 90
    assert logs.stretches == [(6, 9)]


async def test_a_record_with_its_producers_time_at_the_tip_tells_nothing() -> None:
    """It was set aside by an operator; a broker's time that differs is another log."""
    rated = RatedRecord(0, 0, 5, NOW_MS)
    tip = RawRecord(4, b"{}", NOW_MS - 99, timestamp_type=0)
    assert await resume_at(Logs(rated, tip=tip)) == 5
    with pytest.raises(LogMadeAgainError):
        await resume_at(Logs(rated, tip=RawRecord(4, b"{}", NOW_MS - 99)))

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
from streams.recovery import PAUSE_MS, Recovery
from streams.seen import SeenPartition
from tests.published_burns import BurnsPublished
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
    kind: Kind = Kind.RATED

    @property
    def timestamp(self) -> int:
        return self.ms

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        times = [(self.first, self.ms)] if self.kind is Kind.RATED else []
        fold = Fold(self.kind, self.first, self.following, times, array("q"), b"")
        return [(FOLD_HEADER, pack_fold(fold)), (TOTALS_HEADER, b"[]")]


class Logs:
    """The two logs of a partition."""

    def __init__(
        self,
        *rated: RatedRecord,
        rated_end: int = 0,
        raw: tuple[int, int] = (0, 1_000),
        raw_records: Sequence[RawRecord] = (),
    ) -> None:
        self._rated, self._raw, self._raw_records = rated, raw, raw_records
        self._rated_end = rated[-1].offset + 1 if rated else rated_end
        self.stretches: list[tuple[int, int]] = []
        self.compared: list[int] = []
        self.looks = 0

    def replace_raw(self, records: Sequence[RawRecord]) -> None:
        self._raw_records = records

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        del partition
        if topic == TOPICS.raw:
            return self._raw
        return self._rated[0].offset if self._rated else self._rated_end, self._rated_end

    async def first_at(self, topic: str, partition: int, offset: int, seconds: float) -> Any:
        del topic, partition, seconds
        return next((one for one in self._rated if one.offset >= offset), None)

    async def first_of_each(
        self, topic: str, partition: int, offsets: Sequence[int], end: int
    ) -> list[RawRecord]:
        assert topic == TOPICS.raw
        del partition
        self.compared = list(offsets)
        firsts = [next((r for r in self._raw_records if r.offset >= one), None) for one in offsets]
        return [record for record in firsts if record is not None and record.offset < end]

    async def first_later(self, topic: str, partition: int, ms: int) -> int | None:
        assert topic == TOPICS.raw
        del partition
        self.looks += 1
        return next((r.offset for r in self._raw_records if r.timestamp > ms), None)

    async def offset_at(self, topic: str, partition: int, ms: int) -> int | None:
        del topic, partition
        return next((one.offset for one in self._rated if one.ms >= ms), None)

    async def stretch(
        self, topic: str, partition: int, start: int, end: int
    ) -> AsyncIterator[Sequence[RatedRecord]]:
        del topic, partition
        self.stretches.append((start, end))
        yield [one for one in self._rated if start <= one.offset < end]


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


def recovery_of(logs: Logs) -> Recovery:
    """Return the recovery of a new worker."""
    return Recovery(
        cast("SeenTable", Table()),
        cast("Burns", BurnsPublished(1 << 40)),
        cast("LogReader", logs),
        TOPICS,
        Metrics(CollectorRegistry()),
    )


async def resume_at(logs: Logs) -> int:
    """Return where a new worker goes on."""
    return await recovery_of(logs).resume_at(0)


def raw_log(*times: int) -> list[RawRecord]:
    """Return records at offsets from 0 on, of these broker times after `NOW_MS`."""
    return [RawRecord(offset, b"{}", NOW_MS + ms) for offset, ms in enumerate(times)]


def rated_each(*times: int) -> list[RatedRecord]:
    """Return a rated batch for each record of such a log."""
    return [RatedRecord(n, n, n + 1, NOW_MS + ms) for n, ms in enumerate(times)]


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
    assert await resume_at(Logs(rated, raw_records=[tip])) == 5
    with pytest.raises(LogMadeAgainError):
        await resume_at(Logs(rated, raw_records=[RawRecord(4, b"{}", NOW_MS - 99)]))


@pytest.mark.parametrize("cut_at", [0, 1, 7, 19])
async def test_a_log_cut_off_and_grown_past_the_position_is_another(cut_at: int) -> None:
    """Offsets used again hold later records: found wherever the log was cut."""
    times = list(range(20))
    grown = times[:cut_at] + [500 + n for n in range(30)]
    with pytest.raises(LogMadeAgainError, match="repair new-epoch 0"):
        await resume_at(Logs(*rated_each(*times), raw_records=raw_log(*grown)))


async def test_offsets_without_a_record_at_the_tip_do_not_hide_a_cut() -> None:
    """A transaction's marker before the position: the look goes farther back."""
    grown = [one for one in raw_log(*range(10), *[500] * 12) if one.offset not in {18, 19}]
    with pytest.raises(LogMadeAgainError):
        await resume_at(Logs(*rated_each(*range(20)), raw_records=grown))


async def test_a_broker_clock_that_steps_back_is_no_other_log() -> None:
    """Times that fall are compared with what they were: a true log is never refused."""
    times = [*range(5_000, 5_010), *range(10)]
    rated = rated_each(*times)
    # The fold begins in the middle and knows nothing of the later times before.
    assert await resume_at(Logs(*rated, raw_records=raw_log(*times))) == 20
    assert await resume_at(Logs(*rated[10:], raw_records=raw_log(*times))) == 20


async def test_a_log_replaced_after_the_clock_stepped_back_is_another() -> None:
    """No record is later than what was rated: the times of the same offsets differ."""
    logs = Logs(*rated_each(*range(5_000, 5_020)), raw_records=raw_log(*range(30)))
    with pytest.raises(LogMadeAgainError):
        await resume_at(logs)


async def test_a_hole_that_was_accepted_is_not_compared() -> None:
    """What was never rated has no time: records that the log still holds there are no other log."""
    rated = [
        *rated_each(0, 1, 2),
        RatedRecord(3, 3, 12, NOW_MS, Kind.HOLE),
        RatedRecord(4, 12, 13, NOW_MS + 12),
    ]
    logs = Logs(*rated, raw_records=raw_log(*range(13)))
    assert await resume_at(logs) == 13
    assert logs.compared == [12, 0]


async def test_a_run_without_a_pause_before_it_asks_nothing() -> None:
    """Looking costs a request: records that follow one another are admitted as they are."""
    logs = Logs(*rated_each(*range(20)), raw_records=raw_log(*range(20)))
    recovery = recovery_of(logs)
    await recovery.resume_at(0)
    looks = logs.looks
    await recovery.check_while_running(0, NOW_MS + 19 + PAUSE_MS - 1)
    assert logs.looks == looks
    await recovery.check_while_running(0, NOW_MS + 19 + PAUSE_MS)
    assert logs.looks == looks + 1


@pytest.mark.parametrize("first_ms", [5_000, -5_000])
async def test_a_log_replaced_under_a_running_worker_stops_it(first_ms: int) -> None:
    """A broker came back with less, and was written to past the position, between two fetches."""
    logs = Logs(*rated_each(*range(20)), raw_records=raw_log(*range(20)))
    recovery = recovery_of(logs)
    await recovery.resume_at(0)
    logs.replace_raw(raw_log(*range(15), *[first_ms + n for n in range(9)]))
    with pytest.raises(LogMadeAgainError):
        await recovery.check_while_running(0, NOW_MS + first_ms + 5)


async def test_a_fold_has_a_share_while_the_partition_is_this_workers() -> None:
    """1 once it is folded whole, also when the log ends in offsets without a record; then none."""
    recovery = recovery_of(Logs(*rated_each(0, 1, 2)))

    def shares() -> list[float]:
        return [one.value for one in next(iter(recovery._metrics.fold_share.collect())).samples]

    await recovery.resume_at(0)
    assert shares() == [1]
    recovery.forget(0)
    assert shares() == []

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from streams.errors import LogEndsBelowError, LogStartsAboveError, RecordTimeError
from streams.guard import Guard, ReadingLostError
from streams.metrics import Metrics
from streams.price_book import QuarantineTable
from tests.unit.streams.raw_records import RawRecord, event, raw


class Log:
    """A partition of `usage.raw`: what a reader of its own finds there."""

    def __init__(self, *offsets: int, begin: int = 0) -> None:
        self.begin = begin
        self.position = 5
        self.checked: list[int] = []
        self.offsets = [offset for offset in offsets if offset >= begin]

    async def first_at(self, topic: str, partition: int, offset: int, seconds: float) -> Any:
        del topic, partition, seconds
        found = [one for one in self.offsets if one >= offset]
        return raw(found[0], event(1)) if found else None

    async def check_bounds(self, partition: int, position: int) -> int:
        if self.begin > position:
            raise LogStartsAboveError("raw", partition, position, self.begin)
        if self.offsets[-1] + 1 < position:
            raise LogEndsBelowError("raw", partition, position, self.offsets[-1] + 1)
        return self.begin

    async def check_log(self, partition: int) -> None:
        await self.check_bounds(partition, self.position)

    async def check_while_running(self, partition: int, broker_ms: int) -> None:
        del partition
        self.checked.append(broker_ms)


def guard(log: Log, jump_timeout_seconds: float = 60) -> Guard:
    return Guard(
        "raw",
        reader=log,  # type: ignore[arg-type]
        recovery=log,  # type: ignore[arg-type]
        metrics=Metrics(CollectorRegistry()),
        quarantine=QuarantineTable(),
        jump_timeout_seconds=jump_timeout_seconds,
    )


def run(*offsets: int) -> list[RawRecord]:
    return [raw(offset, event(offset)) for offset in offsets]


async def test_a_run_at_the_position_is_admitted() -> None:
    """The usual run begins where the last one ended."""
    admitted = await guard(Log(5, 6)).admit(0, 5, run(5, 6))
    assert admitted is not None
    assert admitted.first_offset == 5


async def test_a_run_that_jumped_over_records_is_not_processed() -> None:
    """When the log holds records between the position and the run, they are read first."""
    assert await guard(Log(5, 6, 9)).admit(0, 5, run(9)) is None


async def test_empty_offsets_are_covered() -> None:
    """Offsets that hold no committed record belong to the batch that follows them."""
    admitted = await guard(Log(4, 9)).admit(0, 5, run(9))
    assert admitted is not None
    assert admitted.first_offset == 5


async def test_a_run_below_the_position_is_not_processed() -> None:
    """What was rated already is not rated again."""
    assert await guard(Log(*range(10))).admit(0, 5, run(3, 4, 5)) is None


@pytest.mark.parametrize(
    ("log", "offset", "error"),
    [
        (Log(8, 9, begin=8), 9, LogStartsAboveError),
        (Log(0, 1), 0, LogEndsBelowError),
    ],
)
async def test_a_log_that_does_not_reach_the_position_stops_the_worker(
    log: Log, offset: int, error: type[Exception]
) -> None:
    """Lost records and a log made again are a person's decision; the error names the remedy."""
    with pytest.raises(error, match="burnstream repair"):
        await guard(log).admit(0, 5, run(offset))


async def test_reading_that_does_not_come_back_ends_in_time() -> None:
    """After the deadline the process starts again rather than seek for ever."""
    one = guard(Log(5, 9), jump_timeout_seconds=60)
    assert await one.admit(0, 5, run(9)) is None
    one._lost_since[0] -= 61
    with pytest.raises(ReadingLostError):
        await one.admit(0, 5, run(9))


async def test_a_producers_own_time_stops_the_worker() -> None:
    """Without the broker's time neither the window nor retention mean anything."""
    record = RawRecord(5, b"{}", timestamp_type=0)
    with pytest.raises(RecordTimeError, match="LogAppendTime"):
        await guard(Log(5)).admit(0, 5, [record])

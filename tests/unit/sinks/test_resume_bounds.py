"""Where a sink goes on, by what the logs still hold and the ledger has reached; Kafka left out."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from sinks import resume as sink_resume
from sinks.batch import Reached
from sinks.resume import ResumePoint

if TYPE_CHECKING:
    from sinks.settings import SinkSettings

REACHED = Reached(0, 0, next_offset=20, rated_offset=3, max_broker_time=0)


class DiedError(BaseException):
    """Stands for the end of the process."""


class Log:
    """A reader of a partition that holds offsets from `start` up to `end`, and no record."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end

    async def beginning_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, self.start)

    async def end_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, self.end)

    def assign(self, tps: Sequence[TopicPartition]) -> None:
        del tps

    def seek(self, tp: TopicPartition, offset: int) -> None:
        del tp, offset

    async def position(self, tp: TopicPartition) -> int:
        del tp
        return self.end


@pytest.fixture
def resume_point(monkeypatch: pytest.MonkeyPatch) -> ResumePoint:
    def die(reason: str, *_: object, **__: object) -> None:
        raise DiedError(reason)

    monkeypatch.setattr(sink_resume, "die", die)
    topics = SimpleNamespace(raw="usage.raw", rated="usage.rated")
    settings = cast("SinkSettings", SimpleNamespace(topics=topics))
    return ResumePoint(settings, lambda *_: None)


def reader(start: int, end: int) -> Any:
    return cast("AIOKafkaConsumer", Log(start, end))


async def test_a_sink_goes_on_from_what_the_ledger_has_read(resume_point: ResumePoint) -> None:
    """Not from the log's beginning, nor from its end."""
    assert await resume_point._check(reader(0, 9), REACHED) == 3


async def test_a_log_that_starts_above_and_goes_on_nowhere_is_named(
    resume_point: ResumePoint,
) -> None:
    """What lay between is lost, and a person must say what to do about it."""
    with pytest.raises(DiedError, match="burnstream repair"):
        await resume_point._check(reader(5, 9), REACHED)


async def test_a_raw_log_that_ends_below_what_was_applied_is_named(
    resume_point: ResumePoint,
) -> None:
    """It was made again or cut off; one that ends at the position is whole."""
    await resume_point._require_raw_log(reader(0, 20), REACHED)
    with pytest.raises(DiedError, match="new-epoch"):
        await resume_point._require_raw_log(reader(0, 19), REACHED)

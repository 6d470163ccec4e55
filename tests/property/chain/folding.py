"""The streams' own recovery (`streams.recovery`), reading the logs of a `World`.

Recovery is a shell, but where it begins to fold, and how strictly, decides what a worker believes:
so it is not told again here but run, with logs in memory under it that never make it wait.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from prometheus_client import CollectorRegistry

from schemas.topics import Topics
from streams import recovery
from streams.metrics import Metrics
from streams.recovery import Recovery
from streams.seen import SeenPartition, SeenTable
from tests.property.chain.world import RatedInLog, RawRecord, World
from tests.published_burns import BurnsPublished

if TYPE_CHECKING:
    from streams.burns import Burns
    from streams.log_reader import LogReader

TOPICS = Topics("")
METRICS = Metrics(CollectorRegistry())

Result = TypeVar("Result")


def complete(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast("Result", stop.value)
    raise AssertionError("it waits for something")


class Nothing:
    """A log of which nothing comes: recovery tells of each fold, in ten thousand lines here."""

    def info(self, *_: Any, **__: Any) -> None:
        pass

    warning = info


def be_quiet() -> None:
    """Have this process log nothing of its folds."""
    recovery.log = Nothing()


class LogsInMemory:
    """What recovery asks of Kafka."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        if topic == TOPICS.rated:
            return 0, len(self._world.rated[partition])
        return 0, self._world.raw[partition].end

    async def first_at(
        self, topic: str, partition: int, offset: int, timeout_seconds: float
    ) -> RatedInLog | RawRecord | None:
        del timeout_seconds
        if topic == TOPICS.rated:
            return next(iter(self._world.rated[partition][offset:]), None)
        return next(iter(self._world.raw[partition].read(offset, 1)), None)

    async def first_of_each(
        self, topic: str, partition: int, offsets: Sequence[int], end: int
    ) -> list[RawRecord]:
        assert topic == TOPICS.raw
        found = [next(iter(self._world.raw[partition].read(one, 1)), None) for one in offsets]
        return [record for record in found if record is not None and record.offset < end]

    async def first_later(self, topic: str, partition: int, ms: int) -> int | None:
        assert topic == TOPICS.raw
        log = self._world.raw[partition].records
        return next((record.offset for record in log if record.timestamp > ms), None)

    async def offset_at(self, topic: str, partition: int, ms: int) -> int | None:
        assert topic == TOPICS.rated
        log = self._world.rated[partition]
        return next((record.offset for record in log if record.timestamp >= ms), None)

    async def stretch(
        self, topic: str, partition: int, start: int, end: int
    ) -> AsyncIterator[Sequence[RatedInLog]]:
        assert topic == TOPICS.rated
        where = "at the start" if start == 0 else "in the middle"
        self._world.met[f"fold begun {where}"] += 1
        yield self._world.rated[partition][start:end]


class Table:
    """The states of the partitions that a worker has."""

    def __init__(self, window_ms: int, new_state: Callable[[int], SeenPartition]) -> None:
        self.window_ms = window_ms
        self.states: dict[int, SeenPartition] = {}
        self._new_state = new_state

    def partition(self, number: int) -> SeenPartition:
        if number not in self.states:
            self.states[number] = self._new_state(self.window_ms)
        return self.states[number]

    def forget(self, number: int) -> None:
        self.states.pop(number, None)


def recovery_of(world: World, table: Table, burns: BurnsPublished) -> Recovery:
    """Return the streams' recovery over the world's logs."""
    return Recovery(
        cast("SeenTable", table),
        cast("Burns", burns),
        cast("LogReader", LogsInMemory(world)),
        TOPICS,
        METRICS,
    )

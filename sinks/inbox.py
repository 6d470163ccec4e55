"""Runs that came and are not yet committed: which is read next, and which go together.

What came is read (decoded, its rows built) not much sooner than it is written: rows that lie about
have left the processor's caches, and what is decoded is many objects, which the garbage collector
looks at again and again.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from deploy.runtime.runs import Run
from sinks.batch import RatedRecord


@dataclass(frozen=True, slots=True)
class Arrival:
    """A run with its records decoded. `received_at`: monotonic seconds."""

    run: Run
    records: Sequence[RatedRecord]
    events: int
    received_at: float


@dataclass(frozen=True, slots=True)
class Gathering:
    """What one transaction tries to apply: arrivals in order, each partition's in its own order."""

    arrivals: list[Arrival] = field(default_factory=list)

    @property
    def events(self) -> int:
        """Verdicts in all records."""
        return sum(arrival.events for arrival in self.arrivals)

    @property
    def received_at(self) -> float:
        """When the first of them came."""
        return self.arrivals[0].received_at

    def records(self) -> dict[int, list[RatedRecord]]:
        """Records by partition, partitions ascending."""
        found: dict[int, list[RatedRecord]] = {}
        for arrival in sorted(self.arrivals, key=lambda one: one.run.partition):
            found.setdefault(arrival.run.partition, []).extend(arrival.records)
        return found


# So many gatherings are read ahead: while one is committed the next is made ready.
GATHERINGS_AHEAD = 2


class Inbox:
    """Bounded by what the consumer may hand over per partition; `done` gives it room again."""

    def __init__(self, events_max: int, wait_seconds: float) -> None:
        self._events_max = events_max
        self._wait_seconds = wait_seconds
        self._arrivals: list[Arrival] = []
        self._unread: deque[tuple[Run, float]] = deque()
        self._arrived = asyncio.Event()
        self._may_read = asyncio.Event()
        self._held_until: dict[int, float] = {}

    def put_unread(self, run: Run) -> None:
        """Add a run as it came."""
        self._unread.append((run, time.monotonic()))
        self._may_read.set()

    async def next_unread(self) -> tuple[Run, float]:
        """Wait for a run and for room; return it and when it came, to be `put` when it is read."""
        while not self._unread or self._is_full():
            self._may_read.clear()
            await self._may_read.wait()
        return self._unread.popleft()

    def _is_full(self) -> bool:
        """Whether enough is read; what is held back must not keep the others from being read."""
        now = time.monotonic()
        events = sum(
            arrival.events
            for arrival in self._arrivals
            if self._held_until.get(arrival.run.partition, 0.0) <= now
        )
        return events >= GATHERINGS_AHEAD * self._events_max

    def put(self, run: Run, records: Sequence[RatedRecord], came_at: float | None = None) -> None:
        """Add a run that was read. `came_at`: monotonic seconds, now when it is not said."""
        events = sum(record.events for record in records)
        at = time.monotonic() if came_at is None else came_at
        self._arrivals.append(Arrival(run, records, events, at))
        self._arrived.set()

    async def gather(self) -> Gathering:
        """Wait for a run, then for more until the bound by events or by time; nothing is removed.

        Under a backlog the bound by events rules: what waits already is not waited for.
        """
        while True:
            self.drop_void()
            now = time.monotonic()
            gathering = self._gathering(now)
            rest = self._held_seconds(now)
            if gathering.arrivals:
                rest = gathering.received_at + self._wait_seconds - now
                if gathering.events >= self._events_max or rest <= 0:
                    return gathering
            await self._next_arrival(rest)

    async def _next_arrival(self, seconds: float | None) -> None:
        self._arrived.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return

    def _gathering(self, now: float) -> Gathering:
        gathering = Gathering()
        events = 0
        for arrival in self._arrivals:
            if events >= self._events_max:
                break
            if self._held_until.get(arrival.run.partition, 0.0) <= now:
                gathering.arrivals.append(arrival)
                events += arrival.events
        return gathering

    def hold(self, partition: int, seconds: float) -> None:
        """Leave a partition out of what is gathered for a while."""
        self._held_until[partition] = time.monotonic() + seconds
        self._may_read.set()

    def _held_seconds(self, now: float) -> float | None:
        """How long until a partition that waits here is no longer held; None: none is."""
        held = [self._held_until.get(one.run.partition, 0.0) - now for one in self._arrivals]
        return max(0.0, min(held)) if held else None

    def done(self, gathering: Gathering, partitions: frozenset[int]) -> None:
        """Acknowledge and remove the gathered runs of these partitions, in order."""
        applied = {
            id(arrival) for arrival in gathering.arrivals if arrival.run.partition in partitions
        }
        for arrival in self._arrivals:
            if id(arrival) in applied:
                arrival.run.ack()
        self._arrivals = [one for one in self._arrivals if id(one) not in applied]
        self._may_read.set()

    def drop_void(self) -> None:
        """Put away runs that a rebalance or a seek made void: nobody waits for them."""
        kept = []
        for arrival in self._arrivals:
            if arrival.run.is_current:
                kept.append(arrival)
            else:
                arrival.run.release()
        self._arrivals = kept
        unread = self._unread
        self._unread = deque(one for one in unread if one[0].is_current)
        for run, _ in unread:
            if not run.is_current:
                run.release()
        self._may_read.set()

    def release_all(self) -> None:
        """Put everything away, undone."""
        for arrival in self._arrivals:
            arrival.run.release()
        for run, _ in self._unread:
            run.release()
        self._arrivals, self._unread = [], deque()

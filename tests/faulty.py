"""A worker that kills or freezes itself at one point of its commit order: `python -m tests.faulty`.

    FAILPOINT=sinks:copy_events:before:2:kill FAILPOINT_HITS=/tmp/hits python -m tests.faulty

A failpoint is PROCESS:STEP:MOMENT:PASS:ACTION.

    STEP     one of `steps_of`: the STEPS of the process; `fold`, of a partition's rated batches; in
             their middle only: a table that the sinks COPY into
    MOMENT   before, middle or after
    PASS     from 1, since the start of the process; only passes that carry events count
    ACTION   kill: SIGKILL; stop: SIGSTOP; zombie: SIGSTOP without the watchdog, which else ends a
             process that wakes too late: so it goes on with what it had in hand

The failpoint is appended to the file before the signal: what was hit is known, and how often.
"""

import asyncio
import functools
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from psycopg.copy import AsyncLibpqWriter

from sinks import copy_rows
from sinks.agent import STEPS as SINK_STEPS
from sinks.transaction import clip_records
from streams.agent import STEPS as STREAMS_STEPS

FOLD = "fold"
MOMENTS = ("before", "middle", "after")
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "zombie": signal.SIGSTOP}
# A group waits so long for a worker that was killed.
SESSION_SECONDS = 4.0

_STEPS = {
    "streams": (FOLD, *(step.__name__ for step in STREAMS_STEPS)),
    "sinks": tuple(step.__name__ for step in SINK_STEPS),
}


def _table_of(copy_statement: bytes) -> str:
    return str(re.findall(r'COPY "(\w+)"', copy_statement.decode())[0])


TABLES = tuple(_table_of(value) for name, value in vars(copy_rows).items() if name[:5] == "COPY_")
IN_THE_MIDDLE = {"streams": (FOLD, "await_acknowledgement"), "sinks": TABLES}


def steps_of(process: str, moment: str) -> tuple[str, ...]:
    """Return the steps of a process that can be hit at a moment."""
    return IN_THE_MIDDLE[process] if moment == "middle" else _STEPS[process]


@dataclass(frozen=True, slots=True)
class Failpoint:
    """Where a process ends or freezes; `number`: of the pass."""

    process: str
    step: str
    moment: str
    number: int
    action: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read PROCESS:STEP:MOMENT:PASS:ACTION. Raises ValueError when it cannot be hit."""
        process, step, moment, number, action = text.split(":")
        if (
            process not in _STEPS
            or moment not in MOMENTS
            or step not in steps_of(process, moment)
            or int(number) < 1
            or action not in SIGNALS
        ):
            raise ValueError(f"{text!r} can never be hit")
        return cls(process, step, moment, int(number), action)

    def __str__(self) -> str:
        return f"{self.process}:{self.step}:{self.moment}:{self.number}:{self.action}"


class Trigger:
    """Counts the passes of one failpoint and sends the signal at the wanted one."""

    def __init__(self, failpoint: Failpoint, hits: Path) -> None:
        self._failpoint = failpoint
        self._hits = hits
        self._passes = 0

    def is_due(self, step: str, moment: str) -> bool:
        """Count one pass where it is the failpoint's; tell whether it is the wanted one."""
        if (step, moment) != (self._failpoint.step, self._failpoint.moment):
            return False
        self._passes += 1
        return self._passes == self._failpoint.number

    def fire(self) -> None:
        """Note the hit and send the signal to this process."""
        with self._hits.open("a") as hits:
            hits.write(f"{self._failpoint}\n")
        os.kill(os.getpid(), SIGNALS[self._failpoint.action])

    def pass_by(self, step: str, moment: str) -> None:
        """Count one pass, and fire when it is the wanted one."""
        if self.is_due(step, moment):
            self.fire()


def _arm_sinks(trigger: Trigger) -> None:
    agent: Any = import_module("sinks.agent")
    run_step = agent.run_step

    def has_events(step: Any, moment: str, work: Any) -> bool:
        """Whether the transaction has events to charge; what is clipped off does not count."""
        passed = SINK_STEPS.index(step) + (moment == "after")
        if passed > SINK_STEPS.index(clip_records):
            return bool(work.charges)
        return any(record.events for records in work.records.values() for record in records)

    async def faulty_step(step: Any, work: Any) -> None:
        if has_events(step, "before", work):
            trigger.pass_by(step.__name__, "before")
        await run_step(step, work)
        if has_events(step, "after", work):
            trigger.pass_by(step.__name__, "after")

    agent.run_step = faulty_step
    _arm_copies(trigger)
    app: Any = import_module("sinks.app")
    app.RunsConfig = functools.partial(
        app.RunsConfig,
        session_timeout_seconds=SESSION_SECONDS,
        heartbeat_interval_seconds=SESSION_SECONDS / 4,
    )


def _arm_copies(trigger: Trigger) -> None:
    """Send a due COPY as two halves; the first is in Postgres' hands when the signal comes."""
    transaction: Any = import_module("sinks.transaction")
    write = AsyncLibpqWriter.write
    is_due = False

    def noting(copy: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def copy_noted(connection: Any, statement: bytes, *rows: Any) -> None:
            nonlocal is_due
            is_due = bool(rows[-1]) and trigger.is_due(_table_of(statement), "middle")
            await copy(connection, statement, *rows)

        return copy_noted

    async def write_in_halves(self: AsyncLibpqWriter, data: Any) -> None:
        nonlocal is_due
        if is_due:
            is_due = False
            self.flush_threshold = 0
            middle = len(data) // 2
            await write(self, data[:middle])
            trigger.fire()
            data = data[middle:]
        await write(self, data)

    transaction.copy_bytes = noting(transaction.copy_bytes)
    transaction.copy_values = noting(transaction.copy_values)
    AsyncLibpqWriter.write = write_in_halves  # type: ignore[method-assign]


def _arm_streams(trigger: Trigger) -> None:
    agent: Any = import_module("streams.agent").StreamsAgent
    run_step = agent.run_step

    async def faulty_step(self: Any, step: Any, part: Any) -> None:
        trigger.pass_by(step.__name__, "before")
        if trigger.is_due(step.__name__, "middle"):
            await asyncio.sleep(0.002)  # the request leaves; its answer may be there or not
            trigger.fire()
        await run_step(self, step, part)
        trigger.pass_by(step.__name__, "after")

    agent.run_step = faulty_step
    _arm_fold(trigger)
    os.environ["SESSION_TIMEOUT_SECONDS"] = str(SESSION_SECONDS)


def _arm_fold(trigger: Trigger) -> None:
    recovery: Any = import_module("streams.recovery").Recovery
    reader: Any = import_module("streams.log_reader").LogReader
    catch_up, stretch = recovery.catch_up, reader.stretch

    async def faulty_catch_up(self: Any, partition: int) -> None:
        trigger.pass_by(FOLD, "before")
        await catch_up(self, partition)
        trigger.pass_by(FOLD, "after")

    async def stretch_in_halves(self: Any, topic: str, *where: int) -> AsyncIterator[Sequence[Any]]:
        async for records in stretch(self, topic, *where):
            middle = 0
            if topic.endswith("usage.rated") and len(records) > 1:
                middle = len(records) // 2 if trigger.is_due(FOLD, "middle") else 0
            if middle:
                yield records[:middle]
                trigger.fire()
            yield records[middle:]

    recovery.catch_up = faulty_catch_up
    reader.stretch = stretch_in_halves


def main() -> None:
    """Arm the process that the failpoint names, and run it."""
    failpoint = Failpoint.parse(os.environ["FAILPOINT"])
    trigger = Trigger(failpoint, Path(os.environ["FAILPOINT_HITS"]))
    {"sinks": _arm_sinks, "streams": _arm_streams}[failpoint.process](trigger)
    if failpoint.action == "zombie":
        watchdog: Any = import_module("deploy.runtime.watchdog").Watchdog
        watchdog.start = lambda _: None
    import_module(f"{failpoint.process}.__main__").main()


if __name__ == "__main__":
    main()

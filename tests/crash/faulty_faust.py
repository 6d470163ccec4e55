"""A streams or sinks worker whose Faust has the defects of its issues 596 and 606, made frequent.

    python -m tests.crash.faulty_faust     # FAULTY_PROCESS: streams or sinks; CRASH_SEED

FAUST_FAULT=loses (issue 596, a race at the end of a recovery): what was fetched is lost on its way
to the agent, without a word. Faust's own queues are cleared when something lies in them, and of
some fetches only the last record arrives.

FAUST_FAULT=commits-ahead (issue 606): the offset committed is the log's end while the first record
is still being worked on, which here never ends: kill the process.
"""

import asyncio
import os
import random
from importlib import import_module
from typing import Any

import structlog

# As untyped modules: their functions are replaced.
run_consumer: Any = import_module("deploy.runtime.run_consumer")

SHARE_OF_FETCHES_CUT = 0.3
SHARE_OF_QUEUES_CLEARED = 0.25

log = structlog.get_logger("faulty")


def lose(seed: int) -> None:
    """Lose what was fetched, now and then; what is read again is not cut again at once."""
    rng = random.Random(seed)
    hand_over = run_consumer.RunConsumer._hand_over
    whole_until: dict[int, int] = {}  # by partition: up to which offset fetches come whole

    async def lossy(self: Any, lane: Any, session: int, records: Any) -> None:
        partition, last = lane.tp.partition, records[-1].offset
        may_cut = len(records) > 1 and records[0].offset > whole_until.get(partition, -1)
        if may_cut and rng.random() < SHARE_OF_FETCHES_CUT:
            whole_until[partition] = last
            log.info("Fetch cut", records=len(records) - 1)
            records = records[-1:]
        await hand_over(self, lane, session, records)
        if rng.random() < SHARE_OF_QUEUES_CLEARED:
            log.info("Queues cleared")
            self.app.flow_control.clear()

    run_consumer.RunConsumer._hand_over = lossy


def commit_ahead() -> None:
    """Commit the end of each partition, and never finish the first record."""

    async def force_commit(self: Any, *_: Any, **__: Any) -> bool:
        ends = {tp: self.highwater(tp) for tp, lane in self.lanes.items() if lane.is_ready}
        return bool(await self._thread.commit({tp: end for tp, end in ends.items() if end}))

    async def hang(*_: Any) -> None:
        log.info("Hanging")
        await asyncio.Event().wait()

    run_consumer.RunConsumer.force_commit = force_commit
    streams_agent: Any = import_module("streams.agent")
    sinks_agent: Any = import_module("sinks.agent")
    streams_agent.StreamsAgent.run_step = hang
    sinks_agent.run_step = hang


def main() -> None:
    """Break Faust, then run the worker as ever."""
    if os.environ["FAUST_FAULT"] == "loses":
        lose(int(os.environ["CRASH_SEED"]))
    else:
        commit_ahead()
    if os.environ["FAULTY_PROCESS"] == "streams":
        from streams.__main__ import main as run
    else:
        from sinks.__main__ import main as run
    run()


if __name__ == "__main__":
    main()

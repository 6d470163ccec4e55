"""A streams worker that kills itself: `CRASH_AT=remember CRASH_AFTER=3` in its environment.

Killed *before* the named step of the part numbered `CRASH_AFTER`: before `remember` means that the
batch is in Kafka and nobody knows.
"""

import os
import signal
from typing import Any

from streams import agent
from streams.__main__ import main

CRASH_AT = os.environ["CRASH_AT"]
CRASH_AFTER = int(os.environ["CRASH_AFTER"])

_run_step = agent.StreamsAgent.run_step
_counted = 0


async def run_step(self: Any, step: Any, part: Any) -> None:
    global _counted  # noqa: PLW0603 -- one process, one worker
    if step.__name__ == CRASH_AT:
        _counted += 1
        if _counted > CRASH_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
    await _run_step(self, step, part)


agent.StreamsAgent.run_step = run_step  # type: ignore[method-assign]

if __name__ == "__main__":
    main()

"""A sink worker that dies by SIGKILL right after a named step: `python -m ... STEP`."""

import os
import signal
import sys

from sinks import __main__ as process
from sinks import agent
from sinks.transaction import Work


async def run_step(step: agent.Step, work: Work) -> None:
    """Run the step, then die when it is the one and there was something to apply."""
    await step(work)
    if step.__name__ == sys.argv[1] and work.charges:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    agent.run_step = run_step
    process.main()

"""A process that reads by runs and fails: in its agent, or when asked for a position."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from deploy.runtime.runs import Run, RunsConfig, build_app
from deploy.runtime.serve import serve


async def main(group: str, topic: str, bootstrap: str, folder: str, where: str) -> None:
    """Read until something fails."""

    async def resume_at(partition: int) -> int:
        if where == "resume":
            raise LookupError(f"no position of {partition}")
        return 0

    async def process(runs: AsyncIterator[Run]) -> None:
        async for run in runs:
            raise LookupError(f"cannot do {run.first_offset}")

    config = RunsConfig(group, topic, {"bootstrap_servers": bootstrap}, Path(folder))
    await serve(build_app(config, resume_at=resume_at, process=process), grace_seconds=5)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

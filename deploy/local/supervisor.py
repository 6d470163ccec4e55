import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from deploy.local.local_server import tethered
from deploy.runtime.exit import ExitCode


@dataclass(frozen=True)
class Worker:
    """One process to keep running."""

    name: str
    command: list[str]
    # What it alone is to know, beside what all of them read.
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Backoff:
    """How long to wait before the next start: doubling, from the first again after good health."""

    first_seconds: float = 0.5
    most_seconds: float = 30.0
    healthy_after_seconds: float = 30.0

    def next(self, delay_seconds: float, ran_seconds: float) -> float:
        """The delay that follows `delay_seconds` for a process that ran for `ran_seconds`."""
        if ran_seconds >= self.healthy_after_seconds or delay_seconds == 0:
            return self.first_seconds
        return min(2 * delay_seconds, self.most_seconds)


def console_worker(admin_api_key: str) -> Worker:
    """The console, the only process that is told the key."""
    command = [sys.executable, "-m", "deploy.console"]
    return Worker("console", command, {"ADMIN_API_KEY": admin_api_key})


def pipeline_workers(counts: Mapping[str, int]) -> list[Worker]:
    """So many workers of each process, named `streams-1`, `streams-2` ..."""
    return [
        Worker(f"{process}-{number}", [sys.executable, "-m", process])
        for process, count in counts.items()
        for number in range(1, count + 1)
    ]


class Supervisor:
    """Keeps workers running until told to stop; their output goes where ours goes.

    A worker that ends by itself is started again after a back-off; one that ends because a
    setting is wrong (exit code 2) ends the whole, since a restart cannot help.
    """

    def __init__(
        self,
        workers: list[Worker],
        environment: Mapping[str, str],
        *,
        grace_seconds: float,
        backoff: Backoff | None = None,
    ) -> None:
        self._workers = workers
        self._environment = dict(environment)
        self._grace_seconds = grace_seconds
        self._backoff = backoff or Backoff()
        self._stopping = asyncio.Event()
        self.exit_code = ExitCode.OK

    def stop(self) -> None:
        """Ask for the end; `run` returns when every worker has ended."""
        self._stopping.set()

    async def run(self) -> ExitCode:
        """Run the workers until `stop`, SIGINT or SIGTERM."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.stop)
        try:
            async with asyncio.TaskGroup() as group:
                for worker in self._workers:
                    group.create_task(self._keep(worker))
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)
        return self.exit_code

    async def _keep(self, worker: Worker) -> None:
        delay_seconds = 0.0
        while not self._stopping.is_set():
            begun = time.monotonic()
            code = await self._run_once(worker)
            if self._stopping.is_set():
                return
            if code == ExitCode.USAGE:
                _say(f"{worker.name} refuses its settings (above): everything stops")
                self.exit_code = ExitCode.USAGE
                self.stop()
                return
            delay_seconds = self._backoff.next(delay_seconds, time.monotonic() - begun)
            _say(f"{worker.name} ended ({_ending(code)}): next start in {delay_seconds:g} s")
            with contextlib.suppress(TimeoutError):  # The usual case: nobody asked for the end.
                await asyncio.wait_for(self._stopping.wait(), delay_seconds)

    async def _run_once(self, worker: Worker) -> int:
        process = await asyncio.create_subprocess_exec(
            *tethered(worker.command),
            env=self._environment | dict(worker.environment),
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches us alone; we say when a worker ends.
        )
        ended = asyncio.create_task(process.wait())
        stopped = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not ended.done():
            process.terminate()
            await asyncio.wait({ended}, timeout=self._grace_seconds)
        if not ended.done():
            _say(f"{worker.name} did not end within {self._grace_seconds:g} s: killed")
            with contextlib.suppress(ProcessLookupError):  # It ended this instant.
                os.killpg(process.pid, signal.SIGKILL)
        return await ended


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _say(text: str) -> None:
    print(f"supervisor: {text}", file=sys.stderr, flush=True)

"""The real processes as tests run them: started, killed, frozen and started again, one by one.

    with System(folder, environment) as system:      # nothing runs yet
        system.start(gateways=2, streams=2, sinks=2)  # returns when all are ready
        system.streams[0].kill()                      # SIGKILL
        system.streams[0].start()                     # a new process under the same name and log
        system.gateway_url                            # "http://127.0.0.1:PORT"

All workers of a system share one environment, as several workers on one host do; the gateways share
one port. Call `start` from the main thread: a worker ends with the thread that started it.
Everything here blocks; inside a running event loop use `asyncio.to_thread` for the waiting parts.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import URLError
from urllib.request import urlopen

from deploy.local.local_server import tethered
from deploy.local.ports import LOOPBACK, free_port
from tests.command_line import CommandLine
from tests.waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[1]
READY_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 30.0
COMMAND_TIMEOUT_SECONDS = 120.0
LOG_TAIL_LINES = 40

# Metrics are served from the start of a worker on; the gateway says more over HTTP.
_STARTED_EVENT = "Metrics served"


class Worker:
    """One process of a system: `gateway-0`, `streams-1` ..."""

    def __init__(self, module: str, number: int, folder: Path, environment: dict[str, str]) -> None:
        self.module = module
        self.name = f"{module}-{number}"
        self.log_path = folder / f"{self.name}.log"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0  # where this incarnation's part of the log begins
        self._failpoint = ""  # of the next incarnation alone
        self.code: Path | None = None  # another checkout, for incarnations to come

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How the last incarnation ended (negative: the signal); None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def hits_path(self) -> Path:
        """Where armed workers note the failpoints that they hit, a line each."""
        return self.log_path.with_name("hits")

    def arm(self, failpoint: str) -> None:
        """Let the next incarnation, and no later one, fail there: see tests/faulty.py."""
        self._failpoint = failpoint

    def start(self) -> None:
        """Start the process without waiting for it; nothing when it runs."""
        if self.pid is not None:
            return
        module, environment = self.module, self._environment
        if self.code is not None:
            environment = {**environment, "PYTHONPATH": str(self.code)}
        if self._failpoint:
            module = "tests.faulty"
            environment = {
                **environment,
                "FAILPOINT": self._failpoint,
                "FAILPOINT_HITS": str(self.hits_path),
            }
            self._failpoint = ""
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                tethered([sys.executable, "-m", module]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.log_path.parent,  # away from a developer's .env
                env=environment,
                start_new_session=True,
            )

    def wait_until_started(self) -> None:
        """Wait until the process serves its metrics: its settings are read, it is at work."""
        wait_until(
            lambda: self.metrics_port is not None or self._require_running(),
            READY_TIMEOUT_SECONDS,
            f"{self.name} starts",
        )

    def kill(self) -> None:
        """End it as a crash would (SIGKILL) and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> int | None:
        """Ask it to end (SIGTERM), wait, and return its exit code; killed when it does not."""
        try:
            self._end(signal.SIGTERM)
        except subprocess.TimeoutExpired:
            self.kill()
        return self.exit_code

    def terminate(self) -> None:
        """Ask it to end (SIGTERM) and go on at once."""
        self._signal(signal.SIGTERM)
        self.resume()  # A frozen process does not see SIGTERM.

    def pause(self) -> None:
        """Freeze it (SIGSTOP): its connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    @property
    def log(self) -> str:
        """What the running (or last) incarnation has logged."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_bytes()[self._log_start :].decode(errors="replace")

    @property
    def log_records(self) -> list[dict[str, Any]]:
        """The structured lines of `log`, in order."""
        found = []
        for line in self.log.splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # A traceback's lines are no records.
                record = json.loads(line)
                if isinstance(record, dict):
                    found.append(record)
        return found

    @property
    def metrics_port(self) -> int | None:
        """Where this incarnation serves its metrics; None before it does."""
        ports = [r["port"] for r in self.log_records if r.get("event") == _STARTED_EVENT]
        return int(ports[-1]) if ports else None

    def metrics(self) -> str:
        """The metrics page."""
        with urlopen(f"http://{LOOPBACK}:{self.metrics_port}/metrics", timeout=5) as page:
            return str(page.read().decode())

    def last_words(self) -> str:
        """The end of the log, for a failing test's message."""
        return "\n".join(self.log.splitlines()[-LOG_TAIL_LINES:])

    def _require_running(self) -> bool:
        if self.pid is None:
            raise AssertionError(f"{self.name} ended with {self.exit_code}:\n{self.last_words()}")
        return False

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.pid is not None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        self._signal(number)
        self.resume()
        if self._process is not None:
            self._process.wait(STOP_TIMEOUT_SECONDS)


class System:
    """Any number of each process over given servers. A context manager: ends all.

    `environment` names the servers (and whatever else the processes read); ports, the folder for
    state and the form of the logs are added unless it says them.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        own = {
            "HOST": LOOPBACK,
            "PORT": str(free_port()),
            "CONSOLE_PORT": str(free_port()),
            "METRICS_PORT": str(free_port()),
            "STATE_DIR": str(folder / "state"),
            "LOG_FORMAT": "json",
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "1",
        }
        self.environment: dict[str, str] = {**os.environ, **own, **environment}
        self.gateways: list[Worker] = []
        self.streams: list[Worker] = []
        self.sinks: list[Worker] = []
        self.consoles: list[Worker] = []

    @property
    def workers(self) -> list[Worker]:
        """All of them, in the order of the data."""
        return [*self.gateways, *self.streams, *self.sinks, *self.consoles]

    @property
    def gateway_url(self) -> str:
        """Where the gateways listen."""
        return f"http://{LOOPBACK}:{self.environment['PORT']}"

    @property
    def console_url(self) -> str:
        """Where the console listens."""
        return f"http://{LOOPBACK}:{self.environment['CONSOLE_PORT']}"

    def prepare(self, partitions: int | None = None) -> None:
        """Make topics and prices, in this process: a command of its own takes seconds to begin."""
        of_so_many = [] if partitions is None else ["--partitions", str(partitions)]
        line = CommandLine(self.environment)
        line.succeed("topics", *of_so_many)
        line.succeed("seed")

    def start(
        self,
        *,
        gateways: int = 1,
        streams: int = 1,
        sinks: int = 1,
        consoles: int = 0,
        code: Path | None = None,
    ) -> None:
        """Start that many more of each, and wait until all are ready; `code`: another checkout."""
        for number_wanted, module, workers in (
            (sinks, "sinks", self.sinks),
            (streams, "streams", self.streams),
            (gateways, "gateway", self.gateways),
            (consoles, "deploy.console", self.consoles),
        ):
            for _ in range(number_wanted):
                worker = Worker(module, len(workers), self.folder, self.environment)
                worker.code = code
                workers.append(worker)
                worker.start()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until every worker is at work and `/ready` says so, where there is a gateway."""
        for worker in self.workers:
            worker.wait_until_started()
        if self.gateways:
            wait_until(
                lambda: self._is_gateway_ready() or self._require_gateways(),
                READY_TIMEOUT_SECONDS,
                f"{self.gateway_url}/ready is 200",
            )

    def burnstream(
        self,
        *arguments: str,
        check: bool = True,
        timeout_seconds: float = COMMAND_TIMEOUT_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Run a `burnstream` command in this system's environment; raises when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment,
            timeout=timeout_seconds,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"burnstream {' '.join(arguments)} ended with {done.returncode}:\n"
                f"{done.stdout}\n{done.stderr}"
            )
        return done

    def restart_ended(self) -> list[Worker]:
        """Start again whatever has ended, as a supervisor would; return those workers."""
        ended = [worker for worker in self.workers if worker.pid is None]
        for worker in ended:
            worker.start()
        return ended

    def require_all_running(self) -> None:
        """Fail, with the last words of whoever ended by himself."""
        for worker in self.workers:
            if worker.pid is None:
                raise AssertionError(
                    f"{worker.name} ended with {worker.exit_code}:\n{worker.last_words()}"
                )

    def keep_logs(self, name: str) -> None:
        """Copy all logs, also of workers that left, to where a failed run is looked into."""
        kept = REPOSITORY / "test-artefacts" / "systems" / name
        kept.mkdir(parents=True, exist_ok=True)
        for log in self.folder.glob("*.log"):
            shutil.copy(log, kept)

    def stop(self) -> None:
        """End every worker, all at once, however it was left."""
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _is_gateway_ready(self) -> bool:
        try:
            with urlopen(f"{self.gateway_url}/ready", timeout=5) as answer:  # noqa: S310 -- our own address
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def _require_gateways(self) -> bool:
        if all(worker.pid is None for worker in self.gateways):
            raise AssertionError(f"no gateway runs:\n{self.gateways[0].last_words()}")
        return False

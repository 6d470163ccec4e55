import contextlib
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.ports import CannotStart
from deploy.local.progress import Progress

if TYPE_CHECKING:  # Imported where it is used: the image of the processes goes without it.
    import psutil

TETHER = Path(__file__).with_name("tether.py")
READY_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 20.0
LOG_TAIL_LINES = 15


@dataclass(frozen=True)
class RunAs:
    """The unprivileged user a server runs as when root starts it."""

    uid: int
    gid: int
    see_all_folders: bool


def tethered(
    program: list[str], *, stop_signal: signal.Signals = signal.SIGTERM, run_as: RunAs | None = None
) -> list[str]:
    """The argument list that runs `program` so that it ends with this process."""
    options = ["--parent", str(os.getpid()), "--signal", str(int(stop_signal))]
    if run_as is not None:
        options += ["--uid", str(run_as.uid), "--gid", str(run_as.gid)]
        options += ["--see-all-folders"] if run_as.see_all_folders else []
    return [sys.executable, "-I", "-S", str(TETHER), *options, "--", *program]


class LocalServer(ABC):
    """One embedded server: prepared once, started, stopped, killed and started again."""

    name: str
    variable: str
    stop_signal: signal.Signals = signal.SIGTERM
    run_as: RunAs | None = None

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self, progress: Progress) -> None:
        """Make what the server needs on disk; nothing when it is there already."""

    @abstractmethod
    def command(self) -> list[str]:
        """Program and arguments, the program's path absolute."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers its clients."""

    def settle(self) -> None:  # noqa: B027 -- most servers need nothing
        """What must be done in the server after it first answers."""

    @property
    def log_path(self) -> Path:
        """Where the server's output goes."""
        return self.folder / "server.log"

    @property
    def pid(self) -> int | None:
        """Process id while the server runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def launch(self) -> None:
        """Start the process; call from the main thread: it is tethered to the calling one."""
        if self.pid is not None:
            return
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                tethered(self.command(), stop_signal=self.stop_signal, run_as=self.run_as),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for us: servers end after their clients.
            )

    def wait_until_ready(self, timeout_seconds: float = READY_TIMEOUT_SECONDS) -> None:
        """Wait until the server answers.

        Raises:
            CannotStart: it ended, or did not answer in time; the text names its log.
        """
        deadline = time.monotonic() + timeout_seconds
        while not self.is_ready():
            if self.pid is None:
                raise CannotStart(f"{self.name} ended at once: {self._last_words()}")
            if time.monotonic() > deadline:
                raise CannotStart(f"{self.name} does not answer: see {self.log_path}")
            time.sleep(0.02)
        self.settle()

    def start(self) -> None:
        """Start and wait until it answers."""
        self.launch()
        self.wait_until_ready()

    def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """Ask the server to end, and kill it when it does not in time."""
        if self._process is None or self.pid is None:
            return
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the server and its children as a crash would (SIGKILL)."""
        if self._process is None or self.pid is None:
            return
        import psutil

        victims = self._tree()
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):  # It may have ended by itself.
                victim.kill()
        self._process.wait()
        psutil.wait_procs(victims, timeout=STOP_TIMEOUT_SECONDS)

    def pause(self) -> None:
        """Freeze the server: connections stay open, nothing is answered."""
        import psutil

        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Let a frozen server go on."""
        import psutil

        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def _tree(self) -> "list[psutil.Process]":
        import psutil

        if self.pid is None:
            return []
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]

    def _last_words(self) -> str:
        lines = self.log_path.read_text(errors="replace").strip().splitlines()
        tail = " | ".join(lines[-LOG_TAIL_LINES:])
        return f"{tail} (see {self.log_path})"

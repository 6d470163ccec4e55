"""People who replay dead letters at the same time, some of them cut off half way."""

import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.error import URLError
from urllib.request import Request, urlopen

from tests.system import System

COMMAND_TIMEOUT_SECONDS = 90.0
POST_TIMEOUT_SECONDS = 15.0
# Reading the environment, connecting, sending: somewhere in it a command is killed.
LIFE_SECONDS_MAX = 4.0
REST_SECONDS = 0.3


def command(system: System, *arguments: str) -> subprocess.Popen[str]:
    """Begin a `burnstream` command."""
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=system.folder,
        env=system.environment,
    )


def at_once(system: System, *commands: tuple[str, ...]) -> list[str]:
    """Run commands at the same time; return what each said. Raises when one fails."""
    running = [command(system, *arguments) for arguments in commands]
    said = [one.communicate(timeout=COMMAND_TIMEOUT_SECONDS)[0] for one in running]
    for one, words in zip(running, said, strict=True):
        if one.returncode != 0:
            raise AssertionError(f"{one.args!r} ended with {one.returncode}:\n{words}")
    return said


class Operators:
    """Replay everything that is open, again and again, until the block ends.

    Two work with the command, one of whom loses patience and kills it (-9) after a random time, so
    that some of his are cut off half way; customers use the gateway.
    A context manager; `done` counts what was done.
    """

    def __init__(self, seed: int, system: System, keys: Mapping[str, str]) -> None:
        self._seed = seed
        self._system = system
        self._keys = sorted(keys.values())
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._operate, args=(False,), name="operator"),
            threading.Thread(target=self._operate, args=(True,), name="hurried operator"),
            threading.Thread(target=self._ask, name="customer"),
        ]
        self.done: Counter[str] = Counter()

    def _operate(self, is_hurried: bool) -> None:
        rng = random.Random(self._seed)
        while not self._stopping.is_set():
            running = command(self._system, "dead-letters", "replay", "--all", "--limit", "500")
            if is_hurried:
                with suppress(subprocess.TimeoutExpired):
                    running.wait(rng.uniform(0.5, LIFE_SECONDS_MAX))
                running.send_signal(signal.SIGKILL)
            running.communicate(timeout=COMMAND_TIMEOUT_SECONDS)
            self.done[f"command ended with {running.returncode}"] += 1
            self._stopping.wait(REST_SECONDS)

    def _ask(self) -> None:
        rng = random.Random(self._seed)
        while not self._stopping.is_set():
            request = Request(  # noqa: S310 -- our own gateway
                f"{self._system.gateway_url}/v1/events/dlq/replay",
                method="POST",
                headers={"x-api-key": rng.choice(self._keys)},
            )
            try:
                with urlopen(request, timeout=POST_TIMEOUT_SECONDS) as answer:  # noqa: S310
                    self.done[f"gateway answered {answer.status}"] += 1
            except (URLError, OSError) as error:
                self.done[f"gateway: {type(error).__name__}"] += 1
            self._stopping.wait(REST_SECONDS)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

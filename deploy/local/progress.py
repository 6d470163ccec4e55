import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """Lines that say what set-up is doing and how long it has been at it. `quiet` prints none."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line with the seconds since the start."""
        if not self._quiet:
            seconds = time.monotonic() - self._start
            print(f"[{seconds:6.1f} s] {text}", file=sys.stderr, flush=True)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Say that a step begins, and how long it took when it is done."""
        self.say(f"{text} ...")
        begun = time.monotonic()
        yield
        self.say(f"{text}: done in {time.monotonic() - begun:.1f} s")

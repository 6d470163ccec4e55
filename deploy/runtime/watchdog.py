"""Ends a process whose event loop stood still, or that slept, longer than its group session.

Heartbeats come from another thread, so the group believes such a worker alive; and one that was
paused (SIGSTOP, a frozen virtual machine) has lost its partitions without knowing.
"""

import asyncio
import threading
import time

from deploy.runtime import exit as process_exit

# Counts the time that the machine slept, too, where the system tells it.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _now() -> float:
    return time.clock_gettime(_CLOCK)


class Watchdog:
    """A thread that watches the event loop and its own sleep."""

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._interval = min(0.5, limit_seconds / 4)
        self._loop_seen = _now()
        self._ended = threading.Event()
        self._tick: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to watch the running event loop."""
        self._beat()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop watching."""
        self._ended.set()
        if self._tick is not None:
            self._tick.cancel()

    def _beat(self) -> None:
        self._loop_seen = _now()
        self._tick = asyncio.get_running_loop().call_later(self._interval, self._beat)

    def _watch(self) -> None:
        last = _now()
        while not self._ended.wait(self._interval):
            now = _now()
            slept, stood = now - last, now - self._loop_seen
            if max(slept, stood) > self._limit:
                process_exit.die(
                    "the process slept" if slept > self._limit else "the event loop stood still",
                    process_exit.ExitCode.STALLED,
                    seconds=round(max(slept, stood), 1),
                )
            last = now

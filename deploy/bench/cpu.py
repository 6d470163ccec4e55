"""CPU time and memory of process trees, sampled while they work."""

import contextlib
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import psutil

from deploy.bench.figures import interpolated

SAMPLE_INTERVAL_SECONDS = 0.2


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of a process with its children, those that ended included."""
    try:
        own = process.cpu_times()
        spent: float = own.user + own.system + own.children_user + own.children_system
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # Then its parent has its time.
                times = child.cpu_times()
                spent += times.user + times.system
    except psutil.NoSuchProcess:
        return 0.0
    return spent


def rss_bytes(process: psutil.Process) -> int:
    """Return the resident memory of a process with its children."""
    return sum(int(one.memory_info().rss) for one in [process, *process.children(recursive=True)])


class CpuSampler:
    """Samples processes in the background. A context manager; ask it when it has ended."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._samples: dict[str, list[tuple[float, float]]] = {name: [] for name in pids}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample_for_ever, daemon=True)

    def microseconds_per_event(self, begun: float, ended: float, events: int) -> dict[str, float]:
        """Return what each process took between two moments of the clock, by event."""
        return {
            name: (interpolated(samples, ended) - interpolated(samples, begun)) / events * 1e6
            for name, samples in self._samples.items()
        }

    def _sample_for_ever(self) -> None:
        while not self._ended.wait(SAMPLE_INTERVAL_SECONDS):
            self._sample()

    def _sample(self) -> None:
        for name, process in self._processes.items():
            spent = cpu_seconds(process)
            if spent > 0.0:
                self._samples[name].append((time.time(), spent))

    def __enter__(self) -> Self:
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        if error is None:
            self._sample()

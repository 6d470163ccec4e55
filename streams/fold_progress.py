"""Tells how far a long fold has come: a worker that folds stands still, and people wait for it."""

import time
from collections.abc import Callable

import structlog
from prometheus_client import Gauge

log = structlog.get_logger("recovery")

TOLD_EVERY_SECONDS = 3.0


class FoldProgress:
    """The fold of `[first, end)` of a partition of `usage.rated`, from now on."""

    def __init__(
        self,
        partition: int,
        first: int,
        end: int,
        share: Gauge,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._partition = partition
        self._first = first
        self._count = max(1, end - first)
        self._share = share.labels(str(partition))
        self._share.set(0)
        self._clock = clock
        self._began = self._told = clock()

    def reach(self, next_offset: int, identities: int) -> None:
        """Note that what lies below an offset is folded; tell it when nothing was told lately."""
        share = min(1.0, (next_offset - self._first) / self._count)
        self._share.set(share)
        now = self._clock()
        if now - self._told < TOLD_EVERY_SECONDS or share <= 0:
            return
        self._told = now
        log.info(
            "Folding a partition",
            partition=self._partition,
            identities=identities,
            share=round(share, 3),
            seconds_left=round((now - self._began) * (1 - share) / share, 1),
        )

    def finish(self) -> None:
        """Note that all is folded, though the last offsets may hold no record."""
        self._share.set(1)

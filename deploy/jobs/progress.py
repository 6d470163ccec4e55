"""How far a job came: for the terminal that runs it, and in the ledger for whoever looks on."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import psycopg

from deploy.jobs.plan import Span
from deploy.jobs.shadow import Job
from deploy.runtime.progress_bar import Tell

_TOLD_SECONDS = 1.0


class JobProgress:
    """Is told positions of partitions by one process of a job, and tells them once a second.

    `tell` hears offsets done of all that this process has to do, rated and applied each once.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], job: Job, spans: Sequence[Span], tell: Tell
    ) -> None:
        self._connection, self._job, self._tell = connection, job.name, tell
        self._spans = {span.partition: span for span in spans}
        self._rated = {span.partition: span.first for span in spans}
        self._applied = dict(self._rated)
        self._total = 2 * sum(span.end - span.first for span in spans)
        self._began, self._done_before = time.monotonic(), 0
        self._told_at = self._began

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._write()

    def rated(self, partition: int, position: int, *, by_an_earlier_run: bool = False) -> None:
        """Note up to where a partition is rated."""
        self._moved(self._rated, partition, position, by_an_earlier_run)

    def applied(self, partition: int, position: int, *, by_an_earlier_run: bool = False) -> None:
        """Note up to where a partition is applied."""
        self._moved(self._applied, partition, position, by_an_earlier_run)

    def _moved(self, places: dict[int, int], partition: int, position: int, is_old: bool) -> None:
        if is_old:  # It says nothing about this run's speed.
            self._done_before += position - places[partition]
        places[partition] = position
        self._tell(self._done, self._total)
        if time.monotonic() - self._told_at >= _TOLD_SECONDS:
            self._write()

    @property
    def _done(self) -> int:
        spans = self._spans.values()
        return sum(
            self._rated[span.partition] + self._applied[span.partition] - 2 * span.first
            for span in spans
        )

    def _seconds_left(self) -> float | None:
        done = self._done - self._done_before
        if done <= 0:
            return None
        return (time.monotonic() - self._began) / done * (self._total - self._done)

    def _write(self) -> None:
        self._told_at = time.monotonic()
        left = self._seconds_left()
        with self._connection.cursor() as cursor:
            cursor.executemany(
                """
                INSERT INTO "JobProgress" AS told (job, partition, first_offset, next_offset,
                    rated_to, applied_to, seconds_left)
                VALUES (%s, %s, %s, %s, %s, %s, %s)
                ON CONFLICT (job, partition) DO UPDATE SET rated_to = excluded.rated_to,
                    applied_to = excluded.applied_to, seconds_left = excluded.seconds_left,
                    told_at = now()
                """,
                [
                    (
                        self._job,
                        span.partition,
                        span.first,
                        span.end,
                        self._rated[span.partition],
                        self._applied[span.partition],
                        left,
                    )
                    for span in self._spans.values()
                ],
            )

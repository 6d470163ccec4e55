"""Remembers, from one process to the next, at which record a worker died: it may be a loop.

A file in the worker's own folder, since a process that dies takes its metrics with it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog
from prometheus_client import Gauge

log = structlog.get_logger("streams")

FILE_NAME = "last-death.json"


@dataclass(frozen=True, slots=True)
class Death:
    """`times` deaths in a row at one record of `usage.raw`."""

    partition: int
    offset: int
    times: int


class LastDeath:
    """Shows a gauge by partition and offset while the record that killed is not rated."""

    def __init__(self, folder: Path, gauge: Gauge) -> None:
        self._path = folder / FILE_NAME
        self._gauge = gauge
        self.death = self._read()
        self._show()

    def note(self, partition: int, offset: int) -> None:
        """Write down that the process is about to die at a record."""
        before = self.death
        is_again = before is not None and (before.partition, before.offset) == (partition, offset)
        death = Death(partition, offset, before.times + 1 if before and is_again else 1)
        fresh = self._path.with_suffix(".fresh")
        try:
            fresh.write_text(json.dumps(asdict(death)))
            fresh.replace(self._path)
        except OSError as error:  # A full disk must not hide why the process dies.
            log.warning("Death not written down", error=repr(error))

    def passed(self, partition: int, next_offset: int) -> None:
        """Forget the death once its record lies below what is rated."""
        death = self.death
        if death is not None and death.partition == partition and next_offset > death.offset:
            self.death = None
            self._path.unlink(missing_ok=True)
            self._show()

    def _read(self) -> Death | None:
        try:
            return Death(**json.loads(self._path.read_text()))
        except (OSError, ValueError, TypeError):  # None yet, or half a file: as good as none.
            return None

    def _show(self) -> None:
        self._gauge.clear()
        if self.death is not None:
            place = (str(self.death.partition), str(self.death.offset))
            self._gauge.labels(*place).set(self.death.times)

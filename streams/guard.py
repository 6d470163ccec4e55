"""The guard (rule 3): only what follows the position is processed, and nothing is left out.

Faust's fetch loop can lose whole fetches at a rebalance, and other people's transactions leave
offsets without a record. So a run that does not begin at the position is held against the log.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from schemas.corrections import CORRECTION_FORMAT
from schemas.formats import FORMAT, version_of
from streams.errors import NewerRecordError, RecordTimeError
from streams.log_reader import LOG_APPEND_TIME, LogReader
from streams.metrics import Metrics
from streams.price_book import QuarantineTable
from streams.recovery import Recovery

log = structlog.get_logger("guard")

LOOK_SECONDS = 10.0


class ReadingLostError(Exception):
    """Reading did not come back to the position in time: start the process again."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """Records to process; they cover the positions from `first_offset` on, without a hole."""

    first_offset: int
    records: Sequence[Any]


class Guard:
    """Holds runs against the position to go on from."""

    def __init__(
        self,
        raw_topic: str,
        *,
        reader: LogReader,
        recovery: Recovery,
        metrics: Metrics,
        quarantine: QuarantineTable,
        jump_timeout_seconds: float,
    ) -> None:
        self._raw_topic = raw_topic
        self._reader = reader
        self._recovery = recovery
        self._metrics = metrics
        self._quarantine = quarantine
        self._jump_timeout_seconds = jump_timeout_seconds
        self._lost_since: dict[int, float] = {}

    async def admit(self, partition: int, position: int, records: Sequence[Any]) -> Admitted | None:
        """Return what may be processed of a run, or None: then seek to `position` and drop it.

        Raises LogsDisagreeError when a person must decide, ReadingLostError after a deadline.
        """
        self._check_records(partition, records)
        first = records[0].offset
        if first == position:
            await self._check_log(partition, records)
            self._lost_since.pop(partition, None)
            return Admitted(position, records)
        self._metrics.jumps.inc()
        is_empty = first > position and await self._is_empty(partition, position, first)
        # Behind every foreign transaction its marker leaves an empty offset: nothing to tell.
        tell = log.debug if is_empty else log.warning
        tell(
            "A run does not begin at the position",
            partition=partition,
            position=position,
            first_offset=first,
            between="empty offsets" if is_empty else "records: reading them again",
        )
        if is_empty:
            await self._check_log(partition, records)
            self._metrics.empty_offsets.inc(first - position)
            self._lost_since.pop(partition, None)
            return Admitted(position, records)
        # Below the position: the reader was reset, so the log may not be the one that was rated.
        await self._recovery.check_log(partition)
        lost_since = self._lost_since.setdefault(partition, time.monotonic())
        if time.monotonic() - lost_since > self._jump_timeout_seconds:
            raise ReadingLostError(
                f"{self._raw_topic}[{partition}]: offset {position} is in the log, "
                f"but was not read within {self._jump_timeout_seconds:g} s"
            )
        return None

    def forget(self, partition: int) -> None:
        """Begin anew with a partition."""
        self._lost_since.pop(partition, None)

    def _check_records(self, partition: int, records: Sequence[Any]) -> None:
        unusual = [r for r in records if r.headers or r.timestamp_type != LOG_APPEND_TIME]
        for record in unusual:
            has_broker_time = record.timestamp_type == LOG_APPEND_TIME
            version = version_of(record.headers) if record.headers else FORMAT
            if has_broker_time and version <= CORRECTION_FORMAT:
                continue
            if self._quarantine.reason(partition, record.offset) is not None:
                continue
            if not has_broker_time:
                raise RecordTimeError(self._raw_topic, partition, record.offset)
            raise NewerRecordError(self._raw_topic, partition, record.offset, version)

    async def _check_log(self, partition: int, records: Sequence[Any]) -> None:
        """Look whether the log was cut off below the run, where that may be."""
        for record in records:
            if record.timestamp_type == LOG_APPEND_TIME:  # others were set aside
                await self._recovery.check_while_running(partition, record.timestamp)
                return

    async def _is_empty(self, partition: int, position: int, first: int) -> bool:
        """Look once whether the log holds a committed record in [position, first)."""
        await self._recovery.check_bounds(partition, position)
        found = await self._reader.first_at(self._raw_topic, partition, position, LOOK_SECONDS)
        if found is None or found.offset < first:
            return False
        # The log's beginning may have passed the position while we looked.
        await self._recovery.check_bounds(partition, position)
        return True

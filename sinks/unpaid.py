"""How long the oldest event has waited for its row in the ledger, asked of the logs themselves.

The record of `usage.raw` at the position that the ledger has reached is the oldest unpaid one,
whichever stage holds it up, and whether streams run at all.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import psycopg
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from deploy.runtime.kafka import SMALLEST_FETCH, reader_options
from sinks import metrics
from sinks.postgres import connect, read_offsets
from sinks.settings import SinkSettings

log = structlog.get_logger("sinks")

LOOK_INTERVAL_SECONDS = 5.0
ANSWER_SECONDS = 10.0
FETCH_SECONDS = 2.0


class Assigned(Protocol):
    """What the watch asks of the app."""

    def assigned(self) -> Iterable[int]:
        """Partitions that are this worker's now."""


class UnpaidWatch:
    """Looks at the partitions of one worker, with connections of its own."""

    def __init__(
        self, settings: SinkSettings, app: Assigned, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._topic = settings.topics.raw
        self._app = app
        self._clock = clock
        self._reader: AIOKafkaConsumer | None = None
        self._broker_ms: dict[int, tuple[int, int]] = {}  # partition -> offset, its record's time
        self._knows_postgres = False

    async def watch_for_ever(self) -> None:
        """Look once an interval; what cannot be looked at stays as it was seen last."""
        try:
            while True:
                try:
                    await self.look()
                except (KafkaError, TimeoutError) as error:
                    metrics.KAFKA_UP.set(0)
                    log.debug("Logs not looked at", error=repr(error))
                    await self.close()
                except (psycopg.Error, OSError) as error:
                    metrics.POSTGRES_UP.set(0)
                    self._knows_postgres = False
                    log.debug("Ledger not looked at", error=repr(error))
                await asyncio.sleep(LOOK_INTERVAL_SECONDS)
        finally:
            await self.close()

    async def look(self) -> None:
        """Set the gauges. Raises KafkaError, TimeoutError, psycopg.Error or OSError."""
        partitions = sorted(self._app.assigned())
        async with asyncio.timeout(ANSWER_SECONDS):
            ends = await self._ends(partitions)
        metrics.KAFKA_UP.set(1)
        async with await connect(self._settings.database_url) as connection:
            found = await read_offsets(connection, self._topic, partitions)
        if not self._knows_postgres:  # From then on it is the sink's word: writes can fail alone.
            metrics.POSTGRES_UP.set(1)
            self._knows_postgres = True
        reached = {number: one.next_offset for number, one in found.items()}
        unpaid = {one: max(0, ends[one] - offset) for one, offset in reached.items()}
        ages = {one: await self._age(one, reached[one], ends[one]) for one in reached}
        metrics.NEXT_OFFSET.show(reached)
        metrics.UNPAID_RECORDS.show(unpaid)
        metrics.OLDEST_UNPAID_SECONDS.show(ages)

    async def _ends(self, partitions: Iterable[int]) -> dict[int, int]:
        reader = await self._open()
        wanted = [TopicPartition(self._topic, one) for one in partitions]
        # Without a partition it is asked all the same: whether Kafka answers.
        found = await reader.end_offsets(wanted or [TopicPartition(self._topic, 0)])
        return {log_of.partition: end for log_of, end in found.items()}

    async def _age(self, partition: int, offset: int, end: int) -> float:
        """Return the age in seconds of the record at an offset or behind it, 0 without one."""
        if offset >= end:
            return 0.0
        known = self._broker_ms.get(partition)
        if known is None or known[0] != offset:
            broker_ms = await self._broker_time(partition, offset, end)
            if broker_ms is None:  # Offsets without a record: nothing waits.
                return 0.0
            self._broker_ms[partition] = known = (offset, broker_ms)
        return max(0.0, self._clock() - known[1] / 1_000)

    async def _broker_time(self, partition: int, offset: int, end: int) -> int | None:
        """Return the broker time of the first record in [offset, end) that the log still has."""
        log_of = TopicPartition(self._topic, partition)
        # One that is kept fetches on, and unassigned again it does not always stop.
        async with AIOKafkaConsumer(**self._options()) as reader:
            start = (await reader.beginning_offsets([log_of]))[log_of]
            reader.assign([log_of])
            reader.seek(log_of, max(offset, start))
            milliseconds = int(FETCH_SECONDS * 1_000)
            found = await reader.getmany(log_of, timeout_ms=milliseconds, max_records=1)
            if found.get(log_of):
                return int(found[log_of][0].timestamp)
            if await reader.position(log_of) < end:
                raise KafkaTimeoutError(f"{log_of} stands still at {offset}, before {end}")
        return None

    def _options(self) -> dict[str, Any]:
        return reader_options(self._settings, "sinks-unpaid") | SMALLEST_FETCH

    async def _open(self) -> AIOKafkaConsumer:
        if self._reader is None:
            reader = AIOKafkaConsumer(**self._options())
            try:
                await reader.start()
            except BaseException:
                await reader.stop()
                raise
            self._reader = reader
        return self._reader

    async def close(self) -> None:
        """Close the connection to Kafka; the next look opens another."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.stop()

"""Where a partition of `usage.rated` goes on: at `SinkOffset.rated_offset`, if its log still fits.

Kafka's committed offset is never asked.
"""

import asyncio
from collections.abc import Callable

import psycopg
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from deploy.runtime.exit import ExitCode, die
from deploy.runtime.kafka import reader_options
from schemas.rated import FOLD_HEADER, Cover, Kind, cover, unpack_fold
from sinks import metrics
from sinks.batch import Reached
from sinks.postgres import Remedy, connect, read_offsets, remedy_for
from sinks.settings import SinkSettings

log = structlog.get_logger("sinks")

RETRY_SECONDS = 1.0
FETCH_TIMEOUT_MS = 1_000


class ResumePoint:
    """Answers where to go on; waits for Postgres and Kafka as long as it takes."""

    def __init__(self, settings: SinkSettings, resumed: Callable[[int, int, int], None]) -> None:
        self._settings = settings
        self._resumed = resumed

    async def __call__(self, partition: int) -> int:
        """Return the offset of `usage.rated` to read next.

        Ends the process when there is no SinkOffset row, or when the log ends below or starts above
        what was read of it and nothing in it goes on from there: a person must decide.
        """
        while True:
            try:
                offset, reached = await self._find(partition)
            except (psycopg.Error, KafkaError, OSError, TimeoutError) as error:
                if isinstance(error, psycopg.Error) and remedy_for(error) is Remedy.STOP:
                    raise
                if isinstance(error, psycopg.Error):
                    metrics.POSTGRES_UP.set(0)
                log.warning("Cannot resume yet, waiting", partition=partition, reason=str(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._resumed(partition, offset, reached.rated_offset)
            return offset

    async def _find(self, partition: int) -> tuple[int, Reached]:
        """Return the offset to read next, and what the ledger has reached: perhaps less."""
        topics = self._settings.topics
        async with await connect(self._settings.database_url) as connection:
            found = await read_offsets(connection, topics.raw, [partition])
        metrics.POSTGRES_UP.set(1)
        reached = found.get(partition)
        if reached is None:
            die(
                f"SinkOffset has no row for {topics.raw}, partition {partition}: run burnstream"
                " topics (or scale), which alone makes it",
                ExitCode.REFUSED,
            )
        reader = AIOKafkaConsumer(**reader_options(self._settings, "sinks-resume"))
        try:
            await reader.start()
            return await self._check(reader, reached), reached
        finally:
            await reader.stop()

    async def _check(self, reader: AIOKafkaConsumer, reached: Reached) -> int:
        log_of = TopicPartition(self._settings.topics.rated, reached.partition)
        start: int = (await reader.beginning_offsets([log_of]))[log_of]
        end: int = (await reader.end_offsets([log_of]))[log_of]
        if end < reached.rated_offset:
            die(
                f"{log_of.topic}, partition {log_of.partition}, ends at {end}, yet was read up to"
                f" {reached.rated_offset}: it was made again or cut off; see burnstream repair"
                " new-epoch",
                ExitCode.REFUSED,
            )
        if start <= reached.rated_offset:
            return reached.rated_offset
        if not await self._goes_on(reader, log_of, reached, range(start, end)):
            die(
                f"{log_of.topic}, partition {log_of.partition}, starts at {start}, yet was read"
                f" only up to {reached.rated_offset}, and nothing in it goes on from"
                f" {reached.next_offset}: see burnstream repair accept-hole",
                ExitCode.REFUSED,
            )
        return start

    async def _goes_on(
        self, reader: AIOKafkaConsumer, log_of: TopicPartition, reached: Reached, offsets: range
    ) -> bool:
        """Whether a record of the log, an operator's decision perhaps, fits what was reached."""
        if not offsets:
            return False
        reader.assign([log_of])
        reader.seek(log_of, offsets.start)
        while await reader.position(log_of) < offsets.stop:
            found = await reader.getmany(timeout_ms=FETCH_TIMEOUT_MS)
            for record in found.get(log_of, ()):
                fold = unpack_fold(dict(record.headers)[FOLD_HEADER])
                place = cover(reached.next_offset, fold.first_offset, fold.next_offset)
                if fold.kind is Kind.NEW_EPOCH or place is not Cover.AHEAD:
                    return True
        return False

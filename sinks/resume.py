"""Where a partition of `usage.rated` goes on: at `SinkOffset.rated_offset`, if its log still fits.

Kafka's committed offset is never asked.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import psycopg
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from deploy.runtime.exit import ExitCode, die
from deploy.runtime.kafka import SMALLEST_FETCH, reader_options
from schemas.rated import FOLD_HEADER, Cover, Kind, cover, unpack_fold
from sinks import metrics
from sinks.agreement import AppliedRow, read_on_at
from sinks.batch import Reached
from sinks.postgres import Remedy, connect, read_offsets, remedy_for
from sinks.settings import SinkSettings
from sinks.statements import statement

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

        Ends the process when there is no SinkOffset row, when both logs end below what
        was applied, or when this one starts above what was read of it and nothing in it goes on
        from there: a person must decide.
        """
        while True:
            try:
                offset, reached = await self._find(partition)
            except (psycopg.Error, KafkaError, OSError, TimeoutError) as error:
                if isinstance(error, psycopg.Error) and remedy_for(error) is Remedy.STOP:
                    raise
                if isinstance(error, psycopg.Error):
                    metrics.POSTGRES_UP.set(0)
                log.warning(
                    "Cannot resume yet, waiting",
                    service="database" if isinstance(error, psycopg.Error) else "queue",
                    partition=partition,
                    reason=str(error) or repr(error),
                )
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
        async with self._reader(**SMALLEST_FETCH) as reader:
            reached = await self._agree(reader, reached)
        async with self._reader() as reader:
            return await self._check(reader, reached), reached

    @asynccontextmanager
    async def _reader(self, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
        reader = AIOKafkaConsumer(**(reader_options(self._settings, "sinks-resume") | options))
        try:
            await reader.start()
            yield reader
        finally:
            await reader.stop()

    async def _require_raw_log(self, reader: AIOKafkaConsumer, reached: Reached) -> None:
        """End the process when `usage.raw` ends below what was applied of it."""
        log_of = TopicPartition(self._settings.topics.raw, reached.partition)
        end: int = (await reader.end_offsets([log_of]))[log_of]
        if end < reached.next_offset:
            die(
                f"{log_of.topic}[{log_of.partition}] ends at offset {end}, but is applied up to"
                f" {reached.next_offset}: it was made again or cut off. Look at it, then open a new"
                f" epoch: burnstream repair new-epoch {log_of.partition} --reason ...",
                ExitCode.REFUSED,
            )

    async def _agree(self, reader: AIOKafkaConsumer, reached: Reached) -> Reached:
        """Go back to where `usage.rated` is the log that was applied, if it is another beyond.

        It was made again or cut off: streams write again what is missing, and what is applied
        already is clipped.
        """
        log_of = TopicPartition(self._settings.topics.rated, reached.partition)
        topic = self._settings.topics.raw
        async with await connect(self._settings.database_url) as connection:

            async def row_back(back: int) -> AppliedRow | None:
                parameters = {"topic": topic, "partition": reached.partition, "back": back}
                cursor = await connection.execute(statement("applied_row"), parameters)
                row = await cursor.fetchone()
                return None if row is None else AppliedRow(*row)

            offset = await read_on_at(reader, log_of, reached, row_back)
            if offset >= reached.rated_offset:
                return reached
            await self._require_raw_log(reader, reached)
            log.error(
                "usage.rated was made again or cut off: reading it again",
                partition=reached.partition,
                rated_offset=reached.rated_offset,
                reading_from=offset,
            )
            await connection.execute(
                statement("read_again"),
                {
                    "topic": topic,
                    "partition": reached.partition,
                    "epoch": reached.epoch,
                    "next_offset": reached.next_offset,
                    "known": reached.rated_offset,
                    "rated_offset": offset,
                },
            )
        return replace(reached, rated_offset=offset)

    async def _check(self, reader: AIOKafkaConsumer, reached: Reached) -> int:
        log_of = TopicPartition(self._settings.topics.rated, reached.partition)
        start: int = (await reader.beginning_offsets([log_of]))[log_of]
        end: int = (await reader.end_offsets([log_of]))[log_of]
        if start <= reached.rated_offset:
            return reached.rated_offset
        if not await self._goes_on(reader, log_of, reached, range(start, end)):
            die(
                f"{log_of.topic}[{log_of.partition}] begins at offset {start}, but was read only"
                f" up to {reached.rated_offset}, and nothing in it goes on from"
                f" {reached.next_offset}. Have it rated again, if"
                f" {self._settings.topics.raw} still holds that offset: burnstream repair new-epoch"
                f" {log_of.partition} --reason ...; else accept what is lost: burnstream repair"
                f" accept-hole {log_of.partition} --reason ...",
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

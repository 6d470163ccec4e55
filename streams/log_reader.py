"""Reads topics without a group: ranges, single records, and whole stretches of a partition."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaTimeoutError
from aiokafka.structs import TopicPartition

from deploy.runtime.kafka import SMALLEST_FETCH

# What aiokafka says of a record whose time is the broker's.
LOG_APPEND_TIME = 1
# A stretch that stands still so long is given up: to end it early would pass for its end.
STANDSTILL_SECONDS = 30.0
# A stretch is read in pieces: while one is unpacked everything else stands still, and what is
# fetched ahead is memory that the process keeps. A record larger than a fetch comes nevertheless.
STRETCH_FETCH = {"max_partition_fetch_bytes": 1 << 20}
STRETCH_RECORDS = 100


class LogReader:
    """Opens a short-lived consumer per question; questions come at assignments and at jumps.

    `first_later` and `ends` are asked while records flow, over one that is kept; `stop` closes it.
    """

    def __init__(self, reader_options: Mapping[str, Any]) -> None:
        self._reader_options = reader_options
        self._kept: Any = None
        self._opening = asyncio.Lock()

    async def stop(self) -> None:
        """Close the connection that is kept."""
        if self._kept is not None:
            await self._kept.stop()

    async def first_later(self, topic: str, partition: int, ms: int) -> int | None:
        """Return the first offset whose broker time is later than `ms`, None if none is."""
        tp = TopicPartition(topic, partition)
        found = (await (await self._keep()).offsets_for_times({tp: ms + 1}))[tp]
        return None if found is None else found.offset

    async def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Return the offset that comes next in each of some partitions (committed)."""
        wanted = [TopicPartition(topic, partition) for partition in partitions]
        found = await (await self._keep()).end_offsets(wanted)
        return {tp.partition: end for tp, end in found.items()}

    async def _keep(self) -> Any:
        async with self._opening:
            if self._kept is None:
                consumer = AIOKafkaConsumer(**self._reader_options)
                try:
                    await consumer.start()
                except BaseException:
                    await consumer.stop()
                    raise
                self._kept = consumer
            return self._kept

    @asynccontextmanager
    async def open(
        self, topic: str, partition: int, **options: Any
    ) -> AsyncIterator[tuple[Any, TopicPartition]]:
        """Yield a consumer that is assigned to one partition, and that partition."""
        consumer = AIOKafkaConsumer(**{**self._reader_options, **options})
        await consumer.start()
        try:
            topic_partition = TopicPartition(topic, partition)
            consumer.assign([topic_partition])
            yield consumer, topic_partition
        finally:
            await consumer.stop()

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the first offset of a partition and the one that comes next (committed)."""
        async with self.open(topic, partition) as (consumer, tp):
            begin = (await consumer.beginning_offsets([tp]))[tp]
            end = (await consumer.end_offsets([tp]))[tp]
        return begin, end

    async def first_at(
        self, topic: str, partition: int, offset: int, timeout_seconds: float
    ) -> Any | None:
        """Return the first record at or beyond an offset of the log, None if none came in time."""
        async with self.open(topic, partition, **SMALLEST_FETCH) as (consumer, tp):
            consumer.seek(tp, offset)
            found = await consumer.getmany(
                tp, timeout_ms=int(timeout_seconds * 1_000), max_records=1
            )
        return found[tp][0] if found.get(tp) else None

    async def first_of_each(
        self, topic: str, partition: int, offsets: Sequence[int], end: int
    ) -> list[Any]:
        """Return the first record at or beyond each offset and below `end`, where there is one.

        Raises KafkaError when the broker does not deliver them.
        """
        found: list[Any] = []
        if not offsets:  # aiokafka cancels its caller when a consumer stops just after its start
            return found
        async with self.open(topic, partition, **SMALLEST_FETCH) as (consumer, tp):
            for offset in offsets:
                consumer.seek(tp, offset)
                while (position := await consumer.position(tp)) < end:
                    records = await consumer.getmany(
                        tp, timeout_ms=int(STANDSTILL_SECONDS * 1_000), max_records=1
                    )
                    if records.get(tp):
                        found += [record for record in records[tp] if record.offset < end]
                        break
                    if await consumer.position(tp) == position:
                        raise KafkaTimeoutError(f"{tp} stands still at {position}, before {end}")
        return found

    async def offset_at(self, topic: str, partition: int, ms: int) -> int | None:
        """Return the offset of the first record of a broker time or later, None if none is."""
        async with self.open(topic, partition) as (consumer, tp):
            found = (await consumer.offsets_for_times({tp: max(0, ms)}))[tp]
        return None if found is None else found.offset

    async def stretch(
        self, topic: str, partition: int, start: int, end: int
    ) -> AsyncIterator[Sequence[Any]]:
        """Yield the records of [start, end) in chunks, in order.

        Raises KafkaError when the broker does not deliver them.
        """
        if start >= end:
            return
        async with self.open(topic, partition, **STRETCH_FETCH) as (consumer, tp):
            consumer.seek(tp, start)
            while await consumer.position(tp) < end:
                position = await consumer.position(tp)
                found = await consumer.getmany(
                    tp, timeout_ms=int(STANDSTILL_SECONDS * 1_000), max_records=STRETCH_RECORDS
                )
                records = found.get(tp, [])
                if not records and await consumer.position(tp) == position:
                    raise KafkaTimeoutError(f"{tp} stands still at {position}, before {end}")
                yield [record for record in records if record.offset < end]
                await asyncio.sleep(0)

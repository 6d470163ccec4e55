"""The price book and the quarantined positions: compacted topics read whole, then followed.

A reader without a group per worker instead of Faust's GlobalTable, which applies updates late.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from schemas.formats import FORMAT, require_known, version_of
from schemas.pricing import (
    BurnTable,
    Price,
    PriceBook,
    burn_table_from_row,
    price_from_row,
)

log = structlog.get_logger("prices")

REVISION_KEY = "revision"
RETRY_SECONDS = 1.0


class PriceTable:
    """Rows of `usage.prices` by key, the highest revision winning, and the book made of them.

    A zombie publisher cannot bring an old price back: its revision is lower.
    """

    def __init__(self) -> None:
        self.book = PriceBook(0)
        self._rows: dict[str, tuple[int, Price | BurnTable | None]] = {}
        self._revision = 0
        self.is_published = False  # a revision was read: it may be 0, of an empty list

    def apply(self, key: bytes | None, value: bytes | None) -> bool:
        """Take one record; return whether it was the revision that ends a publication."""
        if key is None or value is None:
            return False
        name = key.decode()
        found = orjson.loads(value)
        revision = int(found["revision"])
        if name == REVISION_KEY:
            self._revision = max(self._revision, revision)
            self.is_published = True
            return True
        known = self._rows.get(name)
        if known is None or revision >= known[0]:
            self._rows[name] = (revision, None if found["deleted"] else _row(name, found["row"]))
        return False

    def publish(self) -> PriceBook:
        """Make the rows the book in force."""
        rows = [row for _, row in self._rows.values()]
        self.book = PriceBook(
            self._revision,
            [row for row in rows if isinstance(row, Price)],
            [row for row in rows if isinstance(row, BurnTable)],
        )
        return self.book


def _row(name: str, row: Mapping[str, Any]) -> Price | BurnTable:
    kind, _, _ = name.partition(":")
    if kind == "cost":
        return price_from_row(row)
    if kind == "burn-table":
        return burn_table_from_row(row)
    raise ValueError(f"usage.prices holds a key of no known kind: {name!r}")


class QuarantineTable:
    """Positions that an operator set aside, and why."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[int, int], str] = {}

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Take one record: key "partition:offset"; without a value it is set aside no longer."""
        if key is None:
            return
        partition, _, offset = key.decode().partition(":")
        position = (int(partition), int(offset))
        if value is None:
            self._reasons.pop(position, None)
            return
        found = orjson.loads(value)
        self._reasons[position] = f"{found['reason']} (set aside by {found['by']})"

    def reason(self, partition: int, offset: int) -> str | None:
        """Return why a position is set aside, None when it is not."""
        return self._reasons.get((partition, offset))

    def holds_any(self, partition: int, records: Iterable[Any]) -> bool:
        """Tell whether one of a partition's records is set aside: mostly, none ever was."""
        reasons = self._reasons
        return bool(reasons) and any((partition, one.offset) in reasons for one in records)

    def __len__(self) -> int:
        return len(self._reasons)


class TopicFollower:
    """Reads partition 0 of a topic from its beginning for ever, handing over each record."""

    def __init__(
        self,
        topic: str,
        reader_options: Mapping[str, Any],
        apply: Callable[[bytes | None, bytes | None], None],
    ) -> None:
        self._tp = TopicPartition(topic, 0)
        self._reader_options = reader_options
        self._apply = apply
        self._consumer: Any = None
        self.count = 0

    async def read_whole(self) -> None:
        """Read to the present end; waits while Kafka is away or the topic does not exist yet."""
        while True:
            consumer = AIOKafkaConsumer(**self._reader_options)
            try:
                await consumer.start()
                consumer.assign([self._tp])
                begin = (await consumer.beginning_offsets([self._tp]))[self._tp]
                end = (await consumer.end_offsets([self._tp]))[self._tp]
                consumer.seek(self._tp, begin)
                while await consumer.position(self._tp) < end:
                    await self._read(consumer)
            except KafkaError as error:
                await consumer.stop()
                log.warning(
                    "Waiting for Kafka",
                    service="queue",
                    topic=self._tp.topic,
                    error=repr(error),
                )
                await asyncio.sleep(RETRY_SECONDS)
            except BaseException:  # asked to stop
                await consumer.stop()
                raise
            else:
                self._consumer = consumer
                return

    async def follow_for_ever(self) -> None:
        """Go on reading. The client itself waits while Kafka is away."""
        while True:
            await self._read(self._consumer)

    async def stop(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def _read(self, consumer: Any) -> None:
        found = await consumer.getmany(self._tp, timeout_ms=1_000)
        for record in found.get(self._tp, ()):
            what = f"{self._tp.topic} offset {record.offset}"
            require_known(what, version_of(record.headers), FORMAT)
            self.count += 1
            self._apply(record.key, record.value)

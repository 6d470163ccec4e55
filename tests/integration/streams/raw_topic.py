"""The topics of one test around real workers: written to, read back, folded as the sink does."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.rated import Cover, RatedBatch, decode_batch
from schemas.topics import TOPIC_SPECS, Topics
from streams.rated_fold import RatedFold
from streams.seen import fold_of
from tests.unit.streams.raw_records import PRICES, price_record
from tests.waiting import wait_until_async

PARTITIONS = 2
SESSION_TIMEOUT_SECONDS = 3


class Accepted:
    """What the sink's rule makes of one partition of `usage.rated`."""

    def __init__(self) -> None:
        self.rule = RatedFold(0)
        self.entries: list[Any] = []
        self.batches: list[RatedBatch] = []

    def add(self, record: Any) -> None:
        """Fold one record."""
        batch = decode_batch(record.value)
        fold = fold_of(record.headers)
        assert (fold.first_offset, fold.next_offset) == (batch.first_offset, batch.next_offset)
        self.batches.append(batch)
        below = self.rule.next_offset
        if self.rule.apply(batch.kind, batch.first_offset, batch.next_offset) is Cover.NEXT:
            self.entries += [entry for entry in batch.events if entry["offset"] >= below]

    def charged_ids(self) -> list[str]:
        """Ids of charged events, in order."""
        return [e["event"]["event_id"] for e in self.entries if e["verdict"] == "charged"]

    def verdicts(self) -> list[Any]:
        """(offset, index, verdict) of each event; letters by reason, duplicates by origin."""
        found = []
        for e in self.entries:
            what = e.get("reason") or e["verdict"]
            if e["verdict"] == "duplicate":
                what = (e["of_offset"], e["of_index"])
            found.append((e["offset"], e["index"], what))
        return found


class Pipeline:
    """The topics of one installation, with a producer."""

    def __init__(self, bootstrap: str, prefix: str, producer: AIOKafkaProducer) -> None:
        self.bootstrap = bootstrap
        self.topics = Topics(prefix)
        self._producer = producer

    @classmethod
    @asynccontextmanager
    async def open(
        cls, bootstrap: str, prefix: str, raw_config: Mapping[str, str] | None = None
    ) -> AsyncIterator[Self]:
        """Create the topics, publish prices, and yield."""
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        await admin.create_topics(
            [
                NewTopic(
                    prefix + spec.name,
                    PARTITIONS if spec.is_partitioned else 1,
                    1,
                    topic_configs=spec.config
                    | (dict(raw_config or {}) if spec.name == "usage.raw" else {}),
                )
                for spec in TOPIC_SPECS
            ]
        )
        await admin.close()
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5) as producer:
            pipeline = cls(bootstrap, prefix, producer)
            await pipeline.publish_prices(1, PRICES)
            yield pipeline

    async def publish_prices(self, revision: int, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Write rows of the price list and the revision that ends them."""
        for key, row in rows.items():
            await self._producer.send(
                self.topics.prices, price_record(revision, row), key=key.encode(), partition=0
            )
        await self._producer.send_and_wait(
            self.topics.prices,
            orjson.dumps({"revision": revision}),
            key=b"revision",
            partition=0,
        )

    async def write(
        self,
        *records: Mapping[str, Any] | bytes,
        partition: int = 0,
        key: bytes = b"cust-1",
        headers: Sequence[tuple[str, bytes]] = (),
        topic: str | None = None,
    ) -> list[int]:
        """Write raw records, return their offsets."""
        sent = [
            await self._producer.send(
                topic or self.topics.raw,
                record if isinstance(record, bytes) else orjson.dumps(record),
                key=key,
                partition=partition,
                headers=list(headers),
            )
            for record in records
        ]
        return [metadata.offset for metadata in await asyncio.gather(*sent)]

    async def records(self, topic: str) -> list[Any]:
        """Return all committed records of a topic, partition by partition."""
        async with AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, isolation_level="read_committed"
        ) as reader:
            numbers = range(len(reader.partitions_for_topic(topic) or range(PARTITIONS)))
            tps = [TopicPartition(topic, number) for number in numbers]
            reader.assign(tps)
            await reader.seek_to_beginning()
            ends = await reader.end_offsets(tps)
            found: list[Any] = []
            while any([await reader.position(tp) < ends[tp] for tp in tps]):
                for records in (await reader.getmany(timeout_ms=200)).values():
                    found.extend(records)
        return sorted(found, key=lambda record: (record.partition, record.offset))

    async def accepted(self) -> dict[int, Accepted]:
        """Return what the sink would apply, by partition."""
        found = {number: Accepted() for number in range(PARTITIONS)}
        for record in await self.records(self.topics.rated):
            found[record.partition].add(record)
        return found

    async def rated_up_to(
        self, ends: Mapping[int, int], timeout_seconds: float = 30
    ) -> dict[int, Accepted]:
        """Wait until everything below these offsets is rated, and return what the sink applies."""

        async def is_rated() -> dict[int, Accepted] | None:
            accepted = await self.accepted()
            are_all = all(accepted[p].rule.next_offset >= end for p, end in ends.items())
            return accepted if are_all else None

        found = await wait_until_async(is_rated, timeout_seconds, f"rated up to {dict(ends)}")
        assert found is not None
        return found

    def environment(self) -> dict[str, str]:
        """The variables of workers on these topics."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "TOPIC_PREFIX": self.topics.prefix,
            "SESSION_TIMEOUT_SECONDS": str(SESSION_TIMEOUT_SECONDS),
            "BURNS_INTERVAL_SECONDS": "0.1",
            "LOG_FORMAT": "json",
        }


def numbers_of(ids: Iterable[str]) -> list[int]:
    """Return the numbers that made event ids."""
    return [int(one.replace("-", ""), 16) for one in ids]

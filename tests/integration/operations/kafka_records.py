"""Writes and reads records of a test's topics; blocking, one client per call."""

import asyncio
from array import array
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from schemas.rated import FOLD_HEADER, Fold, Kind, RatedBatch, encode_batch, pack_fold
from tests.waiting import wait_until

DELETION_SECONDS = 60.0

Record = tuple[bytes | None, bytes | None]


async def _produce(bootstrap: str, topic: str, partition: int, records: list[Record]) -> list[Any]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        return [
            await producer.send_and_wait(topic, value=value, key=key, partition=partition)
            for key, value in records
        ]
    finally:
        await producer.stop()


def produce(bootstrap: str, topic: str, partition: int, *values: bytes | None) -> list[Any]:
    """Write records without a key; return their metadata (offset, timestamp)."""
    return asyncio.run(_produce(bootstrap, topic, partition, [(None, value) for value in values]))


async def _produce_rated(bootstrap: str, topic: str, batches: list[RatedBatch]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        for batch in batches:
            fold = Fold(
                batch.kind,
                batch.first_offset,
                batch.next_offset,
                batch.broker_times,
                array("q"),
                b"",
            )
            await producer.send_and_wait(
                topic,
                value=encode_batch(batch),
                partition=batch.partition,
                headers=[(FOLD_HEADER, pack_fold(fold))],
            )
    finally:
        await producer.stop()


def rated(first: int, following: int, broker_time: int = 0, kind: Kind = Kind.RATED) -> RatedBatch:
    """A rated batch of partition 0 without events."""
    return RatedBatch(
        0, first, following, 0, [(first, broker_time)] if broker_time else [], [], kind=kind
    )


def produce_rated(bootstrap: str, topic: str, *batches: RatedBatch) -> None:
    """Write rated batches with their fold headers."""
    asyncio.run(_produce_rated(bootstrap, topic, list(batches)))


async def records_of(bootstrap: str, topic: str, partition: int) -> list[Any]:
    """All records of a partition."""
    source = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        start = (await consumer.beginning_offsets([source]))[source]
        end = (await consumer.end_offsets([source]))[source]
        consumer.assign([source])
        consumer.seek(source, start)
        found: list[Any] = []
        while await consumer.position(source) < end:
            found += (await consumer.getmany(timeout_ms=200)).get(source, [])
        return found
    finally:
        await consumer.stop()


def consume(bootstrap: str, topic: str, partition: int) -> list[Any]:
    """All records of a partition, for tests that are not asynchronous."""
    return asyncio.run(records_of(bootstrap, topic, partition))


def forget_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let producers be told no offset, as after a retry of what the broker had already."""
    send = AIOKafkaProducer.send

    async def send_and_forget(self: AIOKafkaProducer, *arguments: Any, **fields: Any) -> Any:
        record = await (await send(self, *arguments, **fields))
        forgotten: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        forgotten.set_result(record._replace(offset=-1))
        return forgotten

    monkeypatch.setattr(AIOKafkaProducer, "send", send_and_forget)


async def _administrate(
    bootstrap: str, work: Callable[[AIOKafkaAdminClient], Coroutine[Any, Any, Any]]
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await work(admin)
    finally:
        await admin.close()


def create_topic(bootstrap: str, name: str, partitions: int, config: dict[str, str]) -> None:
    """Make a topic as somebody else might have."""
    topic = NewTopic(name, partitions, 1, topic_configs=config)
    asyncio.run(_administrate(bootstrap, lambda admin: admin.create_topics([topic])))


def delete_topic(bootstrap: str, name: str) -> None:
    """Delete a topic."""
    asyncio.run(_administrate(bootstrap, lambda admin: admin.delete_topics([name])))


def delete_and_wait(bootstrap: str, topic: str) -> None:
    """Delete a topic and wait until the broker does not know it any more."""
    delete_topic(bootstrap, topic)
    topics: list[str] = []

    async def read(admin: AIOKafkaAdminClient) -> None:
        topics[:] = await admin.list_topics()

    def is_gone() -> bool:
        asyncio.run(_administrate(bootstrap, read))
        return topic not in topics

    wait_until(is_gone, DELETION_SECONDS, f"{topic} is deleted")


def delete_records(bootstrap: str, topic: str, partition: int, before_offset: int) -> None:
    """Let retention have passed up to an offset."""
    records = {TopicPartition(topic, partition): RecordsToDelete(before_offset)}
    asyncio.run(_administrate(bootstrap, lambda admin: admin.delete_records(records)))

"""Writing and reading whole topics, as measurements need it."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError, UnknownTopicOrPartitionError

from deploy.bench.workload import PARTITIONS, RawRecord

BATCH_BYTES = 256 << 10
IN_FLIGHT_MAX = 64
FETCH_BYTES_MAX = 16 << 20


def partitions_of(topic: str) -> list[TopicPartition]:
    """Return the partitions of a topic of ours."""
    return [TopicPartition(topic, number) for number in range(PARTITIONS)]


async def write(bootstrap: str, topic: str, records: Iterable[RawRecord]) -> None:
    """Write records to their partitions, in batches as the gateway's producer would fill them."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, compression_type="lz4", max_batch_size=BATCH_BYTES
    )
    async with producer:
        await producer.partitions_for(topic)
        building = {number: producer.create_batch() for number in range(PARTITIONS)}
        sent: list[asyncio.Future[Any]] = []

        async def send(number: int) -> None:
            sent.append(await producer.send_batch(building[number], topic, partition=number))
            building[number] = producer.create_batch()
            if len(sent) >= IN_FLIGHT_MAX:
                await asyncio.gather(*sent)
                sent.clear()

        for partition, key, value in records:
            if building[partition].append(key=key, value=value, timestamp=None) is None:
                await send(partition)
                if building[partition].append(key=key, value=value, timestamp=None) is None:
                    raise ValueError(f"a record of {len(value)} bytes")
        for number, batch in building.items():
            if batch.record_count():
                await send(number)
        await asyncio.gather(*sent)


async def make_topics(bootstrap: str, names: Sequence[str]) -> None:
    """Make topics for a contender to write to, stamped by the broker's clock."""
    config = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(8 << 20)}
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(name, PARTITIONS, 1, topic_configs=config) for name in names]
        )
    finally:
        await admin.close()


async def delete_topics(bootstrap: str, prefix: str) -> None:
    """Delete every topic whose name begins so."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        names = [name for name in await admin.list_topics() if name.startswith(prefix)]
        await admin.delete_topics(names)
    except UnknownTopicOrPartitionError:
        return  # Gone already.
    finally:
        await admin.close()


async def ends(bootstrap: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the end offset of each partition."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        found: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        return found


async def lag(bootstrap: str, topic: str, group: str) -> int:
    """Return how many offsets of a topic a group has still to commit."""
    end_of = await ends(bootstrap, partitions_of(topic))
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        committed = await admin.list_consumer_group_offsets(group)
    except GroupCoordinatorNotAvailableError:
        return sum(end_of.values())  # The group is just coming to be.
    finally:
        await admin.close()
    return sum(
        end - (committed[partition].offset if partition in committed else 0)
        for partition, end in end_of.items()
    )


async def read_all(bootstrap: str, topic: str) -> list[Any]:
    """Return every committed record of a topic."""
    return await read_from(bootstrap, dict.fromkeys(partitions_of(topic), 0))


async def read_from(bootstrap: str, starts: Mapping[TopicPartition, int]) -> list[Any]:
    """Return every committed record of partitions, each from an offset on."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        max_partition_fetch_bytes=FETCH_BYTES_MAX,
    )
    found: list[Any] = []
    async with consumer:
        end_of = await consumer.end_offsets(list(starts))
        consumer.assign(list(starts))
        for partition, offset in starts.items():
            consumer.seek(partition, offset)
        while any([await consumer.position(one) < end_of[one] for one in starts]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
    return found

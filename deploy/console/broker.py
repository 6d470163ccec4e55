"""The console's questions to Kafka: ends, positions, members, single records; bounded in time."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from aiokafka.structs import TopicPartition

from deploy.console.ledger import UnavailableError
from deploy.console.pipeline_state import Member
from deploy.runtime.kafka import SMALLEST_FETCH, client_options, reader_options
from deploy.runtime.settings import RuntimeSettings

TIMEOUT_SECONDS = 5.0
RECORD_WAIT_MS = 500


class Broker:
    """One consumer and one admin client, made anew when Kafka was away; one question at a time."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None
        self._asking = asyncio.Lock()

    async def close(self) -> None:
        """Close both clients."""
        consumer, admin = self._consumer, self._admin
        self._consumer = self._admin = None
        if consumer is not None:
            await consumer.stop()
        if admin is not None:
            await admin.close()

    async def ends(self, topic: str) -> dict[int, int]:
        """Return the offset that comes next in each partition of a topic (committed)."""
        async with self._clients() as (consumer, admin):
            numbers = await _partitions(admin, topic)
            found = await consumer.end_offsets([TopicPartition(topic, one) for one in numbers])
            return {tp.partition: end for tp, end in found.items()}

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return how far a group says that it is, by partition; none where it never said."""
        async with self._clients() as (_, admin):
            try:
                found = await admin.list_consumer_group_offsets(group)
            except GroupCoordinatorNotAvailableError:  # No group ever was: its topic is not made.
                return {}
            return {
                tp.partition: kept.offset
                for tp, kept in found.items()
                if tp.topic == topic and kept.offset >= 0
            }

    async def members(self, group: str) -> tuple[Member, ...]:
        """Return the workers of a group and what each of them owns."""
        async with self._clients() as (_, admin):
            try:
                (answer,) = await admin.describe_consumer_groups([group])
            except GroupCoordinatorNotAvailableError:
                return ()
        (described,) = answer.to_object()["groups"]
        return tuple(_member(one) for one in described["members"])

    async def times(self, topic: str, offsets: Mapping[int, int]) -> dict[int, int]:
        """Return, by partition, the broker time (epoch ms) of the first record from there on.

        A partition without such a record is left out.
        """
        async with self._clients() as (consumer, _):
            found = {}
            for partition, offset in offsets.items():
                record = await _first_record(consumer, TopicPartition(topic, partition), offset)
                if record is not None:
                    found[partition] = int(record.timestamp)
            return found

    async def records(self, topic: str, partition: int, offsets: Sequence[int]) -> dict[int, Any]:
        """Return those records (aiokafka's) that the log still holds, by offset."""
        async with self._clients() as (consumer, admin):
            source = TopicPartition(topic, partition)
            if partition not in await _partitions(admin, topic):
                return {}
            begin = (await consumer.beginning_offsets([source]))[source]
            end = (await consumer.end_offsets([source]))[source]
            found = {}
            for offset in offsets:
                if begin <= offset < end:
                    record = await _first_record(consumer, source, offset)
                    if record is not None and record.offset == offset:
                        found[offset] = record
            return found

    @asynccontextmanager
    async def _clients(self) -> AsyncIterator[tuple[AIOKafkaConsumer, AIOKafkaAdminClient]]:
        """Yield both clients, for this question alone. Raises UnavailableError."""
        try:
            async with self._asking, asyncio.timeout(TIMEOUT_SECONDS):
                yield await self._connected()
        except (KafkaError, OSError, TimeoutError):
            await self.close()
            raise UnavailableError("Kafka does not answer (KAFKA_BOOTSTRAP_SERVERS)") from None

    async def _connected(self) -> tuple[AIOKafkaConsumer, AIOKafkaAdminClient]:
        if self._consumer is None:
            options = reader_options(self._settings, "console") | SMALLEST_FETCH
            self._consumer = AIOKafkaConsumer(**options)
            await self._consumer.start()
        if self._admin is None:
            options = client_options(self._settings, "console")
            self._admin = AIOKafkaAdminClient(**options)
            await self._admin.start()
        return self._consumer, self._admin


async def _partitions(admin: AIOKafkaAdminClient, topic: str) -> list[int]:
    """Return the numbers of a topic's partitions; none of a topic that is not there yet."""
    (described,) = await admin.describe_topics([topic])
    return sorted(partition["partition"] for partition in described["partitions"])


async def _first_record(consumer: AIOKafkaConsumer, source: TopicPartition, offset: int) -> Any:
    consumer.assign([source])
    consumer.seek(source, offset)
    found = await consumer.getmany(source, timeout_ms=RECORD_WAIT_MS, max_records=1)
    return found[source][0] if found.get(source) else None


def _member(described: Mapping[str, Any]) -> Member:
    assigned = described["member_assignment"]
    partitions = (
        sorted(
            partition
            for _, numbers in ConsumerProtocolMemberAssignment.decode(assigned).assignment
            for partition in numbers
        )
        if assigned
        else []
    )
    host = described["client_host"].removeprefix("/")
    return Member(described["client_id"], host, tuple(partitions))

"""Disasters: logs cut off, made again, expired; offsets reset; a ledger restored or wiped.

A power cut that takes acknowledged records is made on the embedded broker's own files: killed, the
end of a partition's log removed, started again. Kafka finds out by itself where its log ends now.
"""

import asyncio
import os
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.protocol.admin import DeleteGroupsRequest

from deploy.local.kafka_server import KafkaServer
from deploy.local.postgres_server import binaries_folder
from tests.crash.ledger import end_offsets
from tests.integration.operations.kafka_records import delete_records
from tests.waiting import wait_until_async

_BATCH_HEAD = struct.Struct(">qi")  # base offset, bytes that follow
WAIT_SECONDS = 60.0
RECOVERY_SECONDS = 180.0  # a killed broker reads its logs again


def lose_end(kafka: KafkaServer, topic: str, partition: int, keep_below: int) -> None:
    """Kill the broker, drop the records of a partition from an offset on, and start it again.

    Whole batches go: the log ends at `keep_below` or, where a batch straddles it, before.
    """
    kafka.kill()
    _cut(kafka.folder / "data" / f"{topic}-{partition}", keep_below)
    kafka.launch()
    kafka.wait_until_ready(RECOVERY_SECONDS)


def _cut(folder: Path, keep_below: int) -> None:
    segments = sorted(folder.glob("*.log"))
    for segment in segments:
        end = _end_of_batches_below(segment, keep_below)
        os.truncate(segment, end)
    # What the broker rebuilds from the log.
    for pattern in ("*.index", "*.timeindex", "*.snapshot", "*.txnindex"):
        for file in folder.glob(pattern):
            file.unlink()


def _end_of_batches_below(segment: Path, keep_below: int) -> int:
    end = 0
    for start, first_offset, length in _batches(segment):
        last_offset = first_offset + _last_offset_delta(segment, start)
        if last_offset >= keep_below:
            break
        end = start + length
    return end


def _batches(segment: Path) -> Iterator[tuple[int, int, int]]:
    """Yield where each batch starts, its first offset and its length in bytes."""
    with segment.open("rb") as file:
        start = 0
        while len(head := file.read(_BATCH_HEAD.size)) == _BATCH_HEAD.size:
            first_offset, length = _BATCH_HEAD.unpack(head)
            if length <= 0:
                return  # preallocated
            yield start, first_offset, length + _BATCH_HEAD.size
            start += length + _BATCH_HEAD.size
            file.seek(start)


def _last_offset_delta(segment: Path, start: int) -> int:
    with segment.open("rb") as file:
        # base offset 8, length 4, leader epoch 4, magic 1, checksum 4, attributes 2
        file.seek(start + 23)
        return int(struct.unpack(">i", file.read(4))[0])


def end_of(bootstrap: str, topic: str, partition: int = 0) -> int:
    """Where a partition ends."""
    return asyncio.run(end_offsets(bootstrap, topic))[partition]


def expire(bootstrap: str, topic: str, partition: int, below: int) -> None:
    """Let retention have passed up to an offset."""
    delete_records(bootstrap, topic, partition, below)


def commit(bootstrap: str, topic: str, group: str, offset: int) -> None:
    """Commit an offset of partition 0 for a group without members, as an operator's tool does."""

    async def work() -> None:
        tp = TopicPartition(topic, 0)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
        )
        await consumer.start()
        consumer.assign([tp])
        await consumer.commit({tp: offset})
        await consumer.stop()

    asyncio.run(work())


def delete_groups(bootstrap: str, groups: Sequence[str]) -> None:
    """Delete groups without members, and make sure that Kafka knows nothing of them any more."""

    async def work() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            for group in groups:
                coordinator = await admin.find_coordinator(group)
                # The client knows the request, but has no method for it.
                answer = await admin._send_request_to_node(
                    coordinator, DeleteGroupsRequest([group])
                )
                assert answer.results == [(group, 0)], answer
                assert await admin.list_consumer_group_offsets(group) == {}
        finally:
            await admin.close()

    asyncio.run(work())


async def intrude(bootstrap: str, topic: str, group: str, offset: int | None) -> None:
    """Be a member of a group until the partition was ours; commit an offset, or the log's end."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        partition_assignment_strategy=[RoundRobinPartitionAssignor],
        # The lowest member gets the only partition.
        client_id="0-intruder",
    )
    await consumer.start()
    try:
        tp = TopicPartition(topic, 0)

        async def is_ours() -> bool:
            return tp in consumer.assignment()

        await wait_until_async(is_ours, WAIT_SECONDS, f"{group} gives us {tp}")
        at = offset if offset is not None else (await consumer.end_offsets([tp]))[tp]
        await consumer.commit({tp: at})
    finally:
        await consumer.stop()


def back_up(database_url: str, file: Path) -> None:
    """Dump a ledger, everything running."""
    _postgres_tool("pg_dump", "--format=custom", "--file", str(file), "--dbname", database_url)


def restore(database_url: str, file: Path) -> None:
    """Replace a ledger by its backup; whoever is connected is thrown out."""
    server, _, name = database_url.rpartition("/")
    fresh = f"{name}_restored"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
        connection.execute(f'CREATE DATABASE "{fresh}"'.encode())
    _postgres_tool("pg_restore", "--exit-on-error", "--dbname", f"{server}/{fresh}", str(file))
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{fresh}" RENAME TO "{name}"'.encode())


def wipe(database_url: str) -> None:
    """Leave an empty database."""
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")


def _postgres_tool(tool: str, *arguments: str) -> None:
    done = subprocess.run(
        [str(binaries_folder() / tool), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise AssertionError(done.stderr)

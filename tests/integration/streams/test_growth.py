"""Partitions that come while a worker runs, in whatever order."""

from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from deploy.runtime.kafka import producer_options
from streams import app
from tests.integration.streams.raw_topic import PARTITIONS, Pipeline
from tests.unit.streams.raw_records import event
from tests.waiting import wait_until_async

NEW = PARTITIONS


async def grow(pipeline: Pipeline, *topics: str) -> None:
    """Add a partition to each topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.bootstrap)
    await admin.start()
    await admin.create_partitions(dict.fromkeys(topics, NewPartitions(PARTITIONS + 1)))
    await admin.close()


async def test_a_new_partition_waits_for_those_it_is_written_to(
    pipeline: Pipeline, start_worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker given a partition without one behind it goes on with the others, and then with it.

    Its producers hardly look for new partitions by themselves here, as when they have just looked.
    """
    monkeypatch.setattr(
        app,
        "producer_options",
        lambda *args, **more: producer_options(*args, **more) | {"metadata_max_age_ms": 300_000},
    )
    worker = await start_worker()
    await pipeline.write(event(1))
    await pipeline.rated_up_to({0: 1})
    await grow(pipeline, pipeline.topics.raw)
    async with AIOKafkaProducer(bootstrap_servers=pipeline.bootstrap) as producer:
        await producer.send_and_wait(
            pipeline.topics.raw, orjson.dumps(event(2)), key=b"cust-1", partition=NEW
        )

    async def is_given() -> bool:
        assigned: set[int] = worker.worker.app.assigned()
        return NEW in assigned

    await wait_until_async(is_given, 30, "the worker is given the new partition")
    await pipeline.write(event(3))
    await pipeline.rated_up_to({0: 2})

    async def lies_in_both() -> bool:
        behind = [
            TopicPartition(topic, NEW) for topic in (pipeline.topics.rated, pipeline.topics.burns)
        ]
        async with AIOKafkaConsumer(bootstrap_servers=pipeline.bootstrap) as reader:
            ends: dict[TopicPartition, int] = await reader.end_offsets(behind)
        return min(ends.values()) > 0

    await grow(pipeline, pipeline.topics.rated, pipeline.topics.burns)
    await wait_until_async(lies_in_both, 30, "the new partition is rated")

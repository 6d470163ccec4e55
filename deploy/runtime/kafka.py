"""How every aiokafka client of ours is built, and what must always be said to a broker."""

import asyncio
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from deploy.runtime.kafka_security import security_options
from deploy.runtime.settings import RuntimeSettings

log = structlog.get_logger("kafka")

# How old a client's picture of the topics may be: so long it takes at most until a gateway writes
# to partitions that were added, and a group shares them out. A look costs a small request, and at
# worst 5 ms of CPU where the cluster has a thousand partitions.
METADATA_AGE_MAX_MS = 5_000
_LOOK_INTERVAL_SECONDS = 0.5
_TOPICS_INTERVAL_SECONDS = 2.0
TOPICS_REMEDY = "run `burnstream topics`"

# For a reader that wants single records: a fetch brings the batch that it begins in, and no more.
SMALLEST_FETCH = {"fetch_max_bytes": 1, "max_partition_fetch_bytes": 1}


def client_options(settings: RuntimeSettings, client_id: str) -> dict[str, Any]:
    """Return the arguments that every aiokafka client takes."""
    return {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "client_id": f"burnstream-{client_id}",
        "request_timeout_ms": 30_000,
        "metadata_max_age_ms": METADATA_AGE_MAX_MS,
        **security_options(settings),
    }


def producer_options(
    settings: RuntimeSettings, client_id: str, *, linger_milliseconds: int = 0
) -> dict[str, Any]:
    """Return arguments of an idempotent producer that waits for all replicas.

    Such a producer never gives a record up: whoever waits for one sets a deadline of their own.
    """
    return client_options(settings, client_id) | {
        "acks": "all",
        "enable_idempotence": True,
        "linger_ms": linger_milliseconds,
        # A tenth of the CPU of aiokafka's lz4 (always its slowest level), a fifth more bytes.
        "compression_type": "snappy",
    }


def reader_options(settings: RuntimeSettings, client_id: str) -> dict[str, Any]:
    """Return arguments of a consumer without a group that sees committed records only."""
    return client_options(settings, client_id) | {
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "fetch_max_bytes": 64 << 20,
        "max_partition_fetch_bytes": 16 << 20,
    }


async def require_topics(client: AIOKafkaProducer | AIOKafkaConsumer, *topics: str) -> None:
    """Ask whether the topics are there: a client waits for one that is not, without saying so.

    Raises:
        aiokafka.errors.UnknownTopicOrPartitionError: one is missing; it is named.
    """
    asked = client.client if isinstance(client, AIOKafkaProducer) else client._client  # noqa: SLF001
    there = (await asked.fetch_all_metadata()).topics()
    missing = [topic for topic in topics if topic not in there]
    if missing:
        raise UnknownTopicOrPartitionError(", ".join(missing))


async def wait_for_topics(producer: AIOKafkaProducer, *topics: str) -> None:
    """Wait until the topics are there; meanwhile say which are not, and what makes them."""
    while True:
        try:
            await require_topics(producer, *topics)
        except UnknownTopicOrPartitionError as error:
            log.warning("Waiting for topics", missing=error.args[0], remedy=TOPICS_REMEDY)
        except KafkaError as error:
            log.warning("Waiting for Kafka", service="queue", error=repr(error))
        else:
            return
        await asyncio.sleep(_TOPICS_INTERVAL_SECONDS)


async def wait_for_partition(producer: AIOKafkaProducer, topic: str, partition: int) -> None:
    """Wait until a producer knows a partition: one just added, perhaps not even made yet.

    Sending to a partition that its producer does not know yet is a bug in aiokafka's eyes.
    """
    client = producer.client
    await client.add_topic(topic)
    while partition not in (client.cluster.partitions_for_topic(topic) or ()):
        await client.force_metadata_update()
        await asyncio.sleep(_LOOK_INTERVAL_SECONDS)


async def stop_in_time(producer: AIOKafkaProducer, seconds: float) -> bool:
    """Stop a producer; drop what it still holds when Kafka does not take it in time: then False."""
    try:
        async with asyncio.timeout(seconds):
            await producer.stop()
    except TimeoutError:
        # stop() waits for its records without end; these are the two parts it would close then.
        await producer._sender.close()  # noqa: SLF001
        await producer.client.close()
        return False
    return True

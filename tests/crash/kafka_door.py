"""The way straight into `usage.raw`: one producer, replaced whenever it fails or stands still.

aiokafka's idempotent producer never gives a record up and, once its sequence numbers and the
broker's disagree, never mends itself. What was under way then is sent again by the new one.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

DELIVERY_TIMEOUT_SECONDS = 20.0
CLOSE_TIMEOUT_SECONDS = 1.0
RETRY_INTERVAL_SECONDS = 0.1
# Short, so that what a dead producer left open does not hold readers up for long.
TRANSACTION_TIMEOUT_MS = 10_000
METADATA_AGE_MAX_MS = 1_000  # so long it takes until partitions that were added are written to


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record to write; without a partition the key decides, without either nobody does."""

    value: bytes
    key: bytes | None = None
    partition: int | None = None


class Ending(Enum):
    """How a transaction is meant to end."""

    COMMIT = "commit"
    ABORT = "abort"


class KafkaDoor:
    """Delivers records to one topic, in transactions where it has a transactional id."""

    def __init__(self, bootstrap: str, topic: str, transactional_id: str | None = None) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._transactional_id = transactional_id
        self._producer: AIOKafkaProducer | None = None
        self.failures = 0

    async def deliver(self, records: Sequence[RawRecord], ending: Ending | None = None) -> None:
        """Write the records; return when it is certain, however often it takes.

        A transaction whose outcome is unknown is ended by its successor, which has the same id,
        and repeated whole: one that must abort has then aborted, whatever was tried.
        """
        while True:
            try:
                async with asyncio.timeout(DELIVERY_TIMEOUT_SECONDS):
                    await self._try(records, ending)
            except (KafkaError, TimeoutError, OSError):
                self.failures += 1
                await self.close()
                await asyncio.sleep(RETRY_INTERVAL_SECONDS)
            else:
                return

    async def partitions(self) -> list[int]:
        """Return the topic's partitions."""
        while True:
            try:
                async with asyncio.timeout(DELIVERY_TIMEOUT_SECONDS):
                    found: set[int] = await (await self._connected()).partitions_for(self._topic)
            except (KafkaError, TimeoutError, OSError):
                await self.close()
                await asyncio.sleep(RETRY_INTERVAL_SECONDS)
            else:
                return sorted(found)

    async def close(self) -> None:
        """Let go of the producer and of what it holds."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await producer.stop()
        except (KafkaError, TimeoutError):
            # stop() waits for its records without end; these are the two parts it would close then.
            await producer._sender.close()
            await producer.client.close()

    async def _try(self, records: Sequence[RawRecord], ending: Ending | None) -> None:
        producer = await self._connected()
        if ending is not None:
            await producer.begin_transaction()
        acks = [
            await producer.send(self._topic, one.value, key=one.key, partition=one.partition)
            for one in records
        ]
        await asyncio.gather(*acks)
        if ending is Ending.COMMIT:
            await producer.commit_transaction()
        elif ending is Ending.ABORT:
            await producer.abort_transaction()

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            options: dict[str, Any] = {
                "acks": "all",
                "enable_idempotence": True,
                "metadata_max_age_ms": METADATA_AGE_MAX_MS,
            }
            if self._transactional_id is not None:
                options |= {
                    "transactional_id": self._transactional_id,
                    "transaction_timeout_ms": TRANSACTION_TIMEOUT_MS,
                }
            self._producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, **options)
            await self._producer.start()
        return self._producer

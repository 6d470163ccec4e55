"""Writes rated batches: one at a time per partition, acknowledged by all replicas, in time."""

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer

from schemas.dead_letter import FORMAT_HEADER
from schemas.rated import FOLD_HEADER, TOTALS_HEADER, Fold, RatedBatch, pack_fold
from streams.metrics import Metrics

UNKNOWN_OFFSET = -1


@dataclass(frozen=True, slots=True)
class Sent:
    """A rated batch on its way. `deadline`: the event loop's seconds; `size`: bytes."""

    metadata: asyncio.Future[Any]
    deadline: float
    size: int


class RatedProducer:
    """Sends rated batches to the partition they were read from."""

    def __init__(
        self, producer: AIOKafkaProducer, topic: str, metrics: Metrics, timeout_seconds: float
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds

    async def send(
        self, value: bytes, batch: RatedBatch, fold: Fold, *more: tuple[str, bytes]
    ) -> Sent:
        """Hand a batch to the client, which sends it at once; the deadline begins.

        `value`: the batch encoded. `more`: headers that no fold needs.

        Raises TimeoutError as `acknowledged` does.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        async with asyncio.timeout_at(deadline):
            metadata = await self._producer.send(
                self._topic,
                value,
                partition=batch.partition,
                headers=[*headers_of(batch, fold), *more],
            )
        return Sent(metadata, deadline, len(value))

    async def acknowledged(self, sent: Sent) -> int:
        """Return the offset of the batch once Kafka has it, -1 where Kafka does not tell.

        Raises TimeoutError, after which nobody knows whether it was written: end the process, the
        fold will tell. An idempotent producer by itself would try for ever.
        """
        async with asyncio.timeout_at(sent.deadline):
            metadata = await sent.metadata
        self._metrics.batch_bytes.inc(sent.size)
        return UNKNOWN_OFFSET if metadata.offset is None else int(metadata.offset)


def headers_of(batch: RatedBatch, fold: Fold) -> list[tuple[str, bytes]]:
    """Return the headers of a rated batch: what folds need without reading the value."""
    return [
        FORMAT_HEADER,
        (FOLD_HEADER, pack_fold(fold)),
        (TOTALS_HEADER, orjson.dumps(batch.totals)),
    ]

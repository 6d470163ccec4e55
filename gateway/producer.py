"""Writes `usage.raw`: idempotent, acknowledged by all replicas, or said to be unavailable.

aiokafka's idempotent producer never gives a record up and, once broken (its sequence numbers and
the broker's disagree), never mends itself: the deadline and the replacement are here.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import structlog
from aiohttp import web
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from deploy.runtime.kafka import producer_options, wait_for_topics
from gateway import metrics
from gateway.errors import UnavailableError
from gateway.settings import GatewaySettings
from schemas.dead_letter import FORMAT_HEADER
from schemas.topics import partition_for_key

_log = structlog.get_logger("gateway")

# Records of several requests share a batch up to this size; the broker's limit is on the batch.
_BATCH_BYTES_MAX = 1_000_000
# A replayed record may have come compressed, and be larger than a batch may be.
_REQUEST_BYTES_MAX = 32 << 20
_CONNECT_TIMEOUT_SECONDS = 10.0
_RECONNECT_INTERVAL_SECONDS = 1.0

Headers = Sequence[tuple[str, bytes]]
partition_of = lru_cache(maxsize=65_536)(partition_for_key)


@dataclass(frozen=True, slots=True)
class Written:
    """Where acknowledged records stand; `offsets` is None when the broker no longer knew."""

    partition: int
    offsets: tuple[int, ...] | None


class RecordRefusedError(Exception):
    """The broker does not take this record, now or later."""


class RawProducer:
    """The way into `usage.raw`. Until Kafka is there, writes are refused."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._topic = settings.topics.raw
        self._producer: AIOKafkaProducer | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._bytes_waiting = 0
        self._acknowledged_at = time.monotonic()

    async def start(self, wait_seconds: float) -> None:
        """Connect; go on trying in the background when it takes longer than `wait_seconds`."""
        self._connecting = asyncio.create_task(self._replace(None))
        await asyncio.wait({self._connecting}, timeout=wait_seconds)

    async def write(
        self, key: bytes, values: Sequence[bytes], headers: Headers = (FORMAT_HEADER,)
    ) -> Written:
        """Write records under one key; return when Kafka has acknowledged them all.

        Raises UnavailableError (some may have been written: to send the same events again is safe)
        or RecordRefusedError.
        """
        producer = self._producer
        if producer is None:
            raise _unavailable("absent", "Kafka is not reachable")
        size = sum(map(len, values))
        if self._bytes_waiting and (
            self._bytes_waiting + size > self._settings.produce_buffer_bytes_max
        ):
            raise _unavailable("full", "Too much is waiting for Kafka")
        self._bytes_waiting += size
        metrics.PRODUCE_BUFFER_BYTES.set(self._bytes_waiting)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._settings.produce_timeout_seconds):
                written = await self._send(producer, key, values, headers)
        except TimeoutError:
            self._suspect(producer)
            raise _unavailable("deadline", "Kafka did not acknowledge in time") from None
        except MessageSizeTooLargeError as error:
            # The failed batch took sequence numbers that the broker never saw.
            self._replace_soon(producer, error)
            raise RecordRefusedError(str(error)) from None
        except KafkaError as error:
            self._replace_soon(producer, error)
            raise _unavailable("error", "Kafka did not take the events") from None
        finally:
            self._bytes_waiting -= size
            metrics.PRODUCE_BUFFER_BYTES.set(self._bytes_waiting)
        self._acknowledged_at = time.monotonic()
        metrics.PRODUCE_SECONDS.observe(time.perf_counter() - started)
        return written

    async def _send(
        self, producer: AIOKafkaProducer, key: bytes, values: Sequence[bytes], headers: Headers
    ) -> Written:
        partitions = await producer.partitions_for(self._topic)
        partition = partition_of(key, len(partitions))
        futures = [
            await producer.send(
                self._topic, value, key=key, partition=partition, headers=list(headers)
            )
            for value in values
        ]
        acks = [await futures[0]] if len(futures) == 1 else await asyncio.gather(*futures)
        # A resent batch that the broker had already, and had forgotten where, has no offsets.
        is_known = all(
            ack.log_start_offset is not None and ack.log_start_offset >= 0 for ack in acks
        )
        return Written(partition, tuple(ack.offset for ack in acks) if is_known else None)

    async def is_connected(self, timeout_seconds: float) -> bool:
        """Whether a broker answers now and has the topic."""
        producer = self._producer
        if producer is None:
            return False
        try:
            async with asyncio.timeout(timeout_seconds):
                cluster = await producer.client.fetch_all_metadata()
        except (KafkaError, TimeoutError, OSError):
            return False
        return self._topic in cluster.topics()

    async def close(self, timeout_seconds: float) -> None:
        """Send what waits, as far as the time allows, and close."""
        if self._connecting is not None:
            self._connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._connecting
        if self._producer is not None:
            await _stop(self._producer, timeout_seconds)
        for task in list(self._retiring):
            await task

    def _suspect(self, producer: AIOKafkaProducer) -> None:
        """Replace a producer that got nothing acknowledged for long: it may hang itself."""
        silence_seconds = time.monotonic() - self._acknowledged_at
        if silence_seconds > 2 * self._settings.produce_timeout_seconds:
            self._replace_soon(producer, TimeoutError(f"silent for {silence_seconds:.0f} s"))

    def _replace_soon(self, broken: AIOKafkaProducer, reason: Exception) -> None:
        is_under_way = self._connecting is not None and not self._connecting.done()
        if broken is not self._producer or is_under_way:
            return
        _log.warning("Kafka producer is replaced", reason=repr(reason))
        self._connecting = asyncio.create_task(self._replace(broken))

    async def _replace(self, broken: AIOKafkaProducer | None) -> None:
        """Connect a new producer before the old one goes: an outage ends by itself, too."""
        fresh = await self._connect()
        self._producer = fresh
        self._acknowledged_at = time.monotonic()
        if broken is None:
            await wait_for_topics(fresh, self._topic)
            _log.info("Queue initialized successfully", topic=self._topic)
            return
        metrics.PRODUCER_REPLACEMENTS.inc()
        task = asyncio.create_task(_stop(broken, self._settings.produce_timeout_seconds))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _connect(self) -> AIOKafkaProducer:
        is_told = False
        while True:
            producer = AIOKafkaProducer(**self._options())
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT_SECONDS):
                    await producer.start()
            except (KafkaError, TimeoutError, OSError) as error:
                await _stop(producer, timeout_seconds=1.0)
                if not is_told:
                    _log.warning(
                        "Kafka is not reachable, trying on", service="queue", reason=repr(error)
                    )
                is_told = True
                await asyncio.sleep(_RECONNECT_INTERVAL_SECONDS)
            except asyncio.CancelledError:
                await _stop(producer, timeout_seconds=1.0)
                raise
            else:
                return producer

    def _options(self) -> dict[str, Any]:
        return producer_options(self._settings, "gateway") | {
            "max_batch_size": _BATCH_BYTES_MAX,
            "max_request_size": _REQUEST_BYTES_MAX,
        }


RAW_PRODUCER = web.AppKey("raw_producer", RawProducer)


def _unavailable(cause: str, message: str) -> UnavailableError:
    metrics.PRODUCE_FAILURES.labels(cause).inc()
    return UnavailableError(
        "queue", f"{message}. Please send the same events again: none is charged twice."
    )


async def _stop(producer: AIOKafkaProducer, timeout_seconds: float) -> None:
    """Stop a producer; drop what it still holds when it does not get rid of it in time."""
    try:
        async with asyncio.timeout(timeout_seconds):
            await producer.stop()
    except TimeoutError:
        # stop() waits for its records without end; these are the two parts it would close then.
        await producer._sender.close()  # noqa: SLF001
        await producer.client.close()
    except KafkaError as error:
        _log.warning("Kafka producer did not close cleanly", reason=repr(error))

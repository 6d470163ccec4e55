"""Prices from Postgres to `usage.prices`, by one leader; then letters that they now cover.

The leader holds a session advisory lock. A former leader that does not know it yet can write
records of an older revision only: readers keep the highest, and the leader writes over them.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from psycopg.rows import dict_row

from deploy.runtime.exit import die, die_of
from deploy.runtime.kafka import (
    producer_options,
    reader_options,
    stop_in_time,
    wait_for_topics,
)
from schemas.dead_letter import FORMAT_HEADER
from schemas.formats import FORMAT, require_known, version_of
from sinks import metrics
from sinks.postgres import Connection, Remedy, connect, remedy_for
from sinks.prices import Published, Snapshot, snapshot
from sinks.self_replay import SelfReplay
from sinks.settings import SinkSettings
from sinks.statements import statement

log = structlog.get_logger("prices")

APPLICATION_NAME = "burnstream-prices"
ACK_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 5.0
RETRY_SECONDS = 1.0
FETCH_TIMEOUT_MS = 1_000
RAW_REQUEST_BYTES_MAX = 2 << 20


class PricePublisher:
    """Runs beside the sink in every worker; works in one."""

    def __init__(self, settings: SinkSettings) -> None:
        self._settings = settings
        self._log_of = TopicPartition(settings.topics.prices, 0)

    async def run(self) -> None:
        """Lead when nobody else does; wait while Postgres or Kafka is away. Never returns."""
        while True:
            try:
                await self._session()
            except (psycopg.Error, KafkaError, OSError, TimeoutError) as error:
                if isinstance(error, psycopg.Error) and remedy_for(error) is Remedy.STOP:
                    die(f"prices cannot be read: {error}")
                log.warning(
                    "Prices are not published, waiting",
                    service="database" if isinstance(error, psycopg.Error) else "queue",
                    reason=str(error) or repr(error),
                )
            except Exception as error:  # a bug: the process ends, nothing is half published
                log.exception("The price publisher failed")
                die_of(error, "the price publisher failed")
            finally:
                metrics.IS_PRICE_LEADER.set(0)
            await asyncio.sleep(RETRY_SECONDS)

    async def _session(self) -> None:
        """Wait for the lead with one connection, then lead until something breaks."""
        async with await connect(self._settings.database_url, APPLICATION_NAME) as connection:
            parameters = {"topic": self._log_of.topic}
            while not await _value(connection, "lead_prices", parameters):  # noqa: ASYNC110 -- a lock
                await asyncio.sleep(self._settings.price_poll_seconds)
            await connection.execute(b"LISTEN price_revision")
            reader = AIOKafkaConsumer(**reader_options(self._settings, "prices-leader"))
            producer = AIOKafkaProducer(
                **producer_options(self._settings, "prices-leader"),
                max_request_size=RAW_REQUEST_BYTES_MAX,
            )
            async with AsyncExitStack() as stack:
                stack.push_async_callback(_stop, producer)
                stack.push_async_callback(reader.stop)
                await reader.start()
                await producer.start()
                await wait_for_topics(producer, self._log_of.topic)
                metrics.IS_PRICE_LEADER.set(1)
                log.info("Publishing prices", topic=self._log_of.topic)
                await self._lead(connection, reader, producer)

    async def _lead(
        self, connection: Connection, reader: AIOKafkaConsumer, producer: AIOKafkaProducer
    ) -> None:
        published = Published()
        reader.assign([self._log_of])
        start = (await reader.beginning_offsets([self._log_of]))[self._log_of]
        reader.seek(self._log_of, start)
        replay = SelfReplay(
            connection,
            producer,
            self._settings.topics.raw,
            self._settings.self_replays_per_round,
        )
        await self._follow(reader, published)
        current: Snapshot | None = None
        while True:
            revision = await _value(connection, "price_revision")
            if revision < published.highest_revision:
                await connection.execute(
                    statement("raise_price_revision"), {"seen": published.highest_revision}
                )
                log.warning("The price revision went back: raised", revision=revision)
                continue
            is_new = False
            if current is None or revision != current.revision:
                is_new = True
                current = await read_snapshot(connection)
                for key, reason in current.refused.items():
                    log.error("A price row is not published", row=key, reason=reason)
            # A new leader may find everything published: letters follow the prices all the same.
            if await self._publish(producer, published, current) or is_new:
                replay.prices_changed(current.book(), time.monotonic())
            await replay.round(time.monotonic())
            await self._wait(connection)
            await self._follow(reader, published)

    async def _follow(self, reader: AIOKafkaConsumer, published: Published) -> None:
        """Read to the topic's present end: records of a former leader, at times."""
        end = (await reader.end_offsets([self._log_of]))[self._log_of]
        while await reader.position(self._log_of) < end:
            found = await reader.getmany(self._log_of, timeout_ms=FETCH_TIMEOUT_MS)
            for record in found.get(self._log_of, ()):
                what = f"{self._log_of.topic} offset {record.offset}"
                require_known(what, version_of(record.headers), FORMAT)
                if record.key is not None and record.value is not None:
                    published.apply(record.key.decode(), record.value)

    async def _publish(
        self, producer: AIOKafkaProducer, published: Published, wanted: Snapshot
    ) -> bool:
        """Write what changed, the revision last, and wait for Kafka; False: nothing to write."""
        changes = published.changes(wanted)
        if not changes:
            metrics.PRICE_REVISION.set(wanted.revision)
            return False
        sent = [
            await producer.send(
                self._log_of.topic,
                key=key.encode(),
                value=value,
                partition=0,
                headers=[FORMAT_HEADER],
            )
            for key, value in changes
        ]
        async with asyncio.timeout(ACK_TIMEOUT_SECONDS):
            await asyncio.gather(*sent)
        for key, value in changes:
            published.apply(key, value)
        metrics.PRICE_REVISION.set(wanted.revision)
        log.info("Prices published", revision=wanted.revision, changed=len(changes) - 1)
        return True

    async def _wait(self, connection: Connection) -> None:
        """Wait for a notification, or for the next look."""
        notified = connection.notifies(timeout=self._settings.price_poll_seconds, stop_after=1)
        async for _ in notified:
            pass


async def _stop(producer: AIOKafkaProducer) -> None:
    if not await stop_in_time(producer, STOP_TIMEOUT_SECONDS):
        log.warning("Records of the price publisher dropped: Kafka does not take them")


async def read_snapshot(connection: Connection) -> Snapshot:
    """Read all prices and their revision as of one moment."""
    async with connection.transaction():
        await connection.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        revision = await _value(connection, "price_revision")
        async with connection.cursor(row_factory=dict_row) as cursor:
            costs = await (await cursor.execute(statement("provider_costs"))).fetchall()
            burn_tables = await (await cursor.execute(statement("burn_tables"))).fetchall()
    return snapshot(revision, costs, burn_tables)


async def _value(
    connection: Connection, name: str, parameters: dict[str, Any] | None = None
) -> Any:
    cursor = await connection.execute(statement(name), parameters)
    (value,) = await cursor.fetchone() or (None,)
    return value

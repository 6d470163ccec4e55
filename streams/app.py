"""Puts a streams worker together and runs it."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from deploy.runtime import exit as process_exit
from deploy.runtime.kafka import (
    client_options,
    producer_options,
    reader_options,
    wait_for_partition,
    wait_for_topics,
)
from deploy.runtime.partition_gauge import ages_seconds
from deploy.runtime.runs import Run, RunsApp, RunsConfig, build_app
from deploy.runtime.serve import close_in_time, is_done_before, serve, stop_event
from deploy.runtime.tracing import Tracing
from schemas.formats import NewerFormatError
from schemas.topics import RATED_MESSAGE_BYTES_MAX
from streams.agent import Parts, StreamsAgent
from streams.burns import Burns
from streams.errors import LogsDisagreeError
from streams.guard import Guard
from streams.last_death import LastDeath
from streams.log_reader import LogReader
from streams.log_watch import LogWatch
from streams.metrics import Metrics
from streams.price_book import PriceTable, QuarantineTable, TopicFollower
from streams.producer import RatedProducer
from streams.recovery import Recovery
from streams.seen import FoldingTableManager, make_table
from streams.settings import StreamsSettings

log = structlog.get_logger("streams")

CLIENT_ID = "streams"
RETRY_SECONDS = 1.0
GAUGES_INTERVAL_SECONDS = 5.0
# What is done once a run weighs on more events the larger it is: 3,000 single ones are 3 MiB.
RUN_RECORDS_MAX = 3_000
RUN_BYTES_MAX = 3 << 20


class StreamsWorker:
    """One worker: owns some partitions of `usage.raw` and rates what comes there."""

    def __init__(
        self,
        settings: StreamsSettings,
        folder: Path,
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics or Metrics()
        topics = settings.topics
        options = reader_options(settings, CLIENT_ID)
        reader = self._reader = LogReader(options)
        self._prices = PriceTable()
        self._quarantine = QuarantineTable()
        self._price_follower = TopicFollower(topics.prices, options, self._take_price)
        self._quarantine_follower = TopicFollower(
            topics.quarantine, options, self._quarantine.apply
        )
        self._is_price_read_whole = False
        self._are_prices_there = asyncio.Event()
        self._rated_producer = AIOKafkaProducer(
            **producer_options(settings, CLIENT_ID), max_request_size=RATED_MESSAGE_BYTES_MAX
        )
        self._burns_producer = AIOKafkaProducer(
            **producer_options(settings, CLIENT_ID, linger_milliseconds=5)
        )
        self.app = self._build_app(folder)
        table = make_table(self.app, topics.rated, settings.window_ms)
        self._burns = Burns(
            topics.burns,
            self._burns_producer,
            reader,
            self._metrics,
            interval_seconds=settings.burns_interval_seconds,
            send_timeout_seconds=settings.send_timeout_seconds,
        )
        self._recovery = Recovery(table, self._burns, reader, topics, self._metrics)
        self._guard = Guard(
            topics.raw,
            reader=reader,
            recovery=self._recovery,
            metrics=self._metrics,
            quarantine=self._quarantine,
            jump_timeout_seconds=settings.jump_timeout_seconds,
        )
        self._table = table
        self._last_death = LastDeath(folder, self._metrics.deaths_at_offset)
        self._watch = LogWatch(self.app, table, reader, topics)
        self.agent = StreamsAgent(
            Parts(
                settings,
                self.app,
                table,
                self._recovery,
                self._guard,
                RatedProducer(
                    self._rated_producer,
                    topics.rated,
                    self._metrics,
                    settings.send_timeout_seconds,
                ),
                self._prices,
                self._quarantine,
                self._metrics,
                self._last_death,
            ),
            tracing,
        )
        self._tasks: set[asyncio.Task[None]] = set()

    def _build_app(self, folder: Path) -> RunsApp:
        settings = self._settings
        return build_app(
            RunsConfig(
                group=settings.topics.streams_group,
                topic=settings.topics.raw,
                client=client_options(settings, CLIENT_ID),
                folder=folder,
                session_timeout_seconds=settings.session_timeout_seconds,
                heartbeat_interval_seconds=settings.session_timeout_seconds / 4,
                group_instance_id=settings.group_instance_id or None,
                run_records_max=RUN_RECORDS_MAX,
                run_bytes_max=RUN_BYTES_MAX,
                buffered_bytes_max=4 * RUN_BYTES_MAX,
                on_rebalance=self._metrics.rebalances.inc,
            ),
            resume_at=self._resume_at,
            process=self._process,
            forget=self._forget,
            TableManager=FoldingTableManager,
        )

    async def run(self, stopping: asyncio.Event | None = None) -> None:
        """Run until SIGTERM, SIGINT or `stopping`."""
        grace_seconds = self._settings.shutdown_grace_seconds
        with stop_event(stopping) as stop:
            if await is_done_before(stop, self._begin()):
                await serve(self.app, grace_seconds=grace_seconds, stopping=stop, close=self._close)
            else:
                await close_in_time(grace_seconds, self._close)

    async def _begin(self) -> None:
        await _start_producer(self._rated_producer)
        await _start_producer(self._burns_producer)
        self._metrics.kafka_up.set(1)
        topics = self._settings.topics
        await wait_for_topics(
            self._rated_producer, topics.raw, topics.rated, topics.prices, topics.quarantine
        )
        # Every price and every quarantined position is known before the first event.
        for follower in (self._price_follower, self._quarantine_follower):
            try:
                await follower.read_whole()
            except NewerFormatError as error:
                process_exit.die(str(error), process_exit.ExitCode.REFUSED)
        book = self._prices.publish()
        self._is_price_read_whole = True
        self._metrics.took_prices(book.revision)
        log.info("Prices read", revision=book.revision, records=self._price_follower.count)
        self._keep_doing(self._price_follower.follow_for_ever())
        await self._wait_for_prices()
        self._keep_doing(self._quarantine_follower.follow_for_ever())
        self._keep_doing(self._burns.publish_for_ever())
        self._keep_doing(self._measure_for_ever())
        self._keep_doing(self._watch.watch_for_ever(self._metrics.kafka_up))

    async def _wait_for_prices(self) -> None:
        """Give the publisher of a new installation its time; then go on without prices."""
        if self._prices.is_published:
            return
        log.warning("Waiting for the price list", topic=self._settings.topics.prices)
        try:
            async with asyncio.timeout(self._settings.prices_wait_seconds):
                await self._are_prices_there.wait()
        except TimeoutError:
            log.error(  # noqa: TRY400 -- no traceback to show
                "No price list was published: what has a price becomes a dead letter",
                remedy="the sinks publish it: `burnstream doctor` says what they lack",
            )

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._burns.publish()
        for follower in (self._price_follower, self._quarantine_follower):
            await follower.stop()
        await self._reader.stop()
        await self._rated_producer.stop()
        await self._burns_producer.stop()

    def _take_price(self, key: bytes | None, value: bytes | None) -> None:
        is_publication_complete = self._prices.apply(key, value)
        if is_publication_complete and self._is_price_read_whole:
            book = self._prices.publish()
            self._metrics.took_prices(book.revision)
            self._are_prices_there.set()
            log.info("Prices changed", revision=book.revision)

    async def _resume_at(self, partition: int) -> int:
        self._guard.forget(partition)
        topics = self._settings.topics
        # Before the fold: what it finds is published at once.
        await wait_for_partition(self._rated_producer, topics.rated, partition)
        await wait_for_partition(self._burns_producer, topics.burns, partition)
        try:
            return await self._recovery.resume_at(partition)
        except LogsDisagreeError as error:
            process_exit.die(str(error), process_exit.ExitCode.REFUSED)

    async def _process(self, runs: AsyncIterator[Run]) -> None:
        await self.agent.process(runs)

    def _forget(self, partition: int) -> None:
        log.info("Partition given away", partition=partition)
        self._metrics.fold_share.remove(str(partition))
        self._recovery.forget(partition)

    async def _measure_for_ever(self) -> None:
        while True:
            self._measure()
            await asyncio.sleep(GAUGES_INTERVAL_SECONDS)

    def _measure(self) -> None:
        metrics, assigned = self._metrics, self.app.assigned()
        metrics.lag.show(self.app.lag())
        metrics.lag_seconds.show(
            ages_seconds(dict.fromkeys(assigned), self.app.oldest_ms(), time.time())
        )
        positions = {}
        for partition in assigned:
            fold = self._table.partition(partition).fold
            if fold.is_known:
                positions[partition] = fold.next_offset
                self._last_death.passed(partition, fold.next_offset)
        metrics.next_offset.show(positions)
        metrics.identities.set(len(self._table.store))

    def _keep_doing(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(_die_when_ended)


def _die_when_ended(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        error = task.exception() or RuntimeError("it returned")
        process_exit.die_of(error, "a background task ended")


async def _start_producer(producer: AIOKafkaProducer) -> None:
    """Connect; wait while Kafka is away."""
    while True:
        try:
            await producer.start()
        except KafkaError as error:
            log.warning("Waiting for Kafka", service="queue", error=repr(error))
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return

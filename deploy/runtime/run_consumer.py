"""The consumer under `deploy.runtime.runs`: runs, lanes, and Faust's fetch loop replaced."""

import asyncio
import contextlib
import logging
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import aiokafka
import faust
import structlog
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as faust_aiokafka
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode.utils.futures import notify

from deploy.runtime import exit as process_exit

log = structlog.get_logger("runs")

Record = Any  # aiokafka.ConsumerRecord, which ships no types
ResumeAt = Callable[[int], Awaitable[int]]
Process = Callable[[AsyncIterator["Run"]], Awaitable[None]]
Forget = Callable[[int], None]

RECORD_OVERHEAD_BYTES = 500
CONNECT_RETRY_SECONDS = 1.0


def nothing_to_forget(partition: int) -> None:
    """Stand in for `forget` where a process keeps nothing per partition."""
    del partition


def nothing_to_count() -> None:
    """Stand in for `on_rebalance` where nobody counts."""


@dataclass(frozen=True, slots=True)
class RunsConfig:
    """What a process that reads by runs decides; sizes in bytes as of `record_bytes`."""

    group: str
    topic: str
    client: Mapping[str, Any]  # arguments that every aiokafka client takes
    folder: Path  # for Faust's own files
    run_records_max: int = 1_000
    run_bytes_max: int = 1 << 20
    buffered_bytes_max: int = 4 << 20  # handed over and not yet done, per partition
    fetch_bytes_max: int = 1 << 20  # per partition; a larger record comes all the same
    fetch_records_max: int = 5_000  # handed over at once: small ones come well compressed
    fetch_wait_milliseconds: int = 100
    session_timeout_seconds: float = 12.0
    heartbeat_interval_seconds: float = 3.0
    group_instance_id: str | None = None  # static membership
    commit_interval_seconds: float = 2.0
    on_rebalance: Callable[[], None] = nothing_to_count  # called at every assignment


@dataclass(slots=True, eq=False)
class Lane:
    """One partition for the time of one assignment.

    `session` counts the seeks: what was fetched in an earlier session is void.
    """

    tp: TP
    is_live: bool = True
    is_ready: bool = False  # a position is known
    session: int = 0
    seek_to: int | None = None
    acked_to: int = -1
    committed_to: int = -1
    buffered_bytes: int = 0
    # First offset and broker time in ms of each run handed over and not yet done.
    in_hand: deque[tuple[int, int]] = field(default_factory=deque)
    resuming: "asyncio.Task[None] | None" = None

    def seek(self, offset: int) -> None:
        """Void what was handed over and go on at `offset`."""
        self.session += 1
        self.seek_to = offset
        self.buffered_bytes = 0
        self.in_hand.clear()
        self.is_ready = True

    def close(self) -> None:
        """The assignment is over."""
        self.is_live = False
        self.is_ready = False
        if self.resuming is not None:
            self.resuming.cancel()


@dataclass(slots=True, eq=False)
class Run:
    """Consecutive records of one partition, as they came; offsets may have holes."""

    lane: Lane
    session: int
    records: Sequence[Record]
    size_bytes: int
    consumer: "RunConsumer"
    event: Any = field(default=None)
    is_put_away: bool = False

    def __del__(self) -> None:
        """Nobody has the run any more: unless it was put away, it was lost on its way."""
        if self.is_current and not self.is_put_away:
            self.consumer.was_lost(self.lane, self.session)

    @property
    def partition(self) -> int:
        """The partition's number."""
        return self.lane.tp.partition

    @property
    def first_offset(self) -> int:
        """Offset of the first record."""
        return cast("int", self.records[0].offset)

    @property
    def next_offset(self) -> int:
        """One beyond the offset of the last record."""
        return cast("int", self.records[-1].offset) + 1

    @property
    def is_current(self) -> bool:
        """False once a seek or a rebalance has made the run void."""
        return self.lane.is_live and self.lane.session == self.session

    def ack(self) -> None:
        """Everything below `next_offset` of this partition is done."""
        if self.lane.session == self.session:
            self.lane.acked_to = max(self.lane.acked_to, self.next_offset)
            while self.lane.in_hand and self.lane.in_hand[0][0] < self.lane.acked_to:
                self.lane.in_hand.popleft()
        self.release()

    def release(self) -> None:
        """Put the run away; a rebalance no longer waits for it."""
        self.is_put_away = True
        event, self.event = self.event, None
        if event is None:
            return
        if self.lane.session == self.session:
            self.lane.buffered_bytes -= self.size_bytes
        self.consumer.untrack(event.message)
        self.consumer.wake()


def record_bytes(record: Record) -> int:
    """Return what a record takes in memory, about: also one without a value is not for nothing."""
    size = RECORD_OVERHEAD_BYTES + len(record.value or b"") + len(record.key or b"")
    if record.headers:
        size += sum([len(name) + len(value or b"") for name, value in record.headers])
    return size


def cut(
    records: Sequence[Record], records_max: int, bytes_max: int
) -> Iterator[tuple[list[Record], int]]:
    """Cut records into runs, each closed by count or by bytes; a large record is a run alone.

    Yields each run with its size in bytes.
    """
    ends = list(accumulate(map(record_bytes, records)))
    first = begin = 0
    while first < len(records):
        fitting = bisect_right(ends, begin + bytes_max, first, min(first + records_max, len(ends)))
        following = max(fitting, first + 1)
        yield list(records[first:following]), ends[following - 1] - begin
        first, begin = following, ends[following - 1]


class RunSchema(faust.Schema):  # type: ignore[type-arg] # generic for type checkers only
    """Hands a run on as it is: decoding is the agent's business."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> Any:
        """Runs have no key."""

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:  # noqa: ARG002 -- Faust's
        """Return the run."""
        return message.value


class RunConsumerThread(faust_aiokafka.AIOKafkaConsumerThread):
    """The thread in which aiokafka keeps up the membership and fetches."""

    logger = logging.getLogger("faust.runs")

    def _create_worker_consumer(self, transport: Any) -> Any:  # noqa: ARG002 -- Faust's
        config: RunsConfig = cast("Any", self.app).runs_config
        self._assignor = RoundRobinPartitionAssignor
        return aiokafka.AIOKafkaConsumer(
            **config.client,
            group_id=config.group,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=config.fetch_bytes_max,
            max_poll_records=config.fetch_records_max,
            # A long wait on idle partitions would hold up the fetch for a busy one.
            fetch_max_wait_ms=config.fetch_wait_milliseconds,
            session_timeout_ms=int(config.session_timeout_seconds * 1_000),
            heartbeat_interval_ms=int(config.heartbeat_interval_seconds * 1_000),
            group_instance_id=config.group_instance_id,
            rebalance_timeout_ms=60_000,
            # A worker without work must stay in the group, or spares never take over.
            max_poll_interval_ms=1_000_000_000,
        )

    async def on_start(self) -> None:
        """Connect; wait while Kafka is away."""
        while not self.should_stop:
            try:
                await super().on_start()
            except KafkaError as error:
                log.warning("Waiting for Kafka", service="queue", error=repr(error))
                await self._ensure_consumer().stop()
                await self.sleep(CONNECT_RETRY_SECONDS)
            else:
                return

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit what is still ours. A commit that fails is a hint not given, nothing more."""
        mine = {
            TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
            if tp in self.assignment()
        }
        if not mine:
            return False
        try:
            await self._ensure_consumer().commit(mine)
        except (KafkaError, IllegalStateError) as error:
            log.warning("Offsets not committed", error=repr(error))
            return False
        return True


class RunConsumer(faust_aiokafka.Consumer):
    """Faust's consumer with the fetch loop, the acknowledgements and the seeks replaced."""

    logger = logging.getLogger("faust.runs")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.lanes: dict[TP, Lane] = {}
        self._resuming: defaultdict[TP, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._wakened = asyncio.Event()
        super().__init__(*args, **kwargs)
        self._runs_app = cast("Any", self.app)
        self._config: RunsConfig = self._runs_app.runs_config

    def _new_consumer_thread(self) -> Any:
        return RunConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def wake(self) -> None:
        """Let the fetch loop look again at what it may fetch."""
        self._wakened.set()

    # Rebalance ------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Void what was handed over, then let Faust wait for what is in hand."""
        for lane in self.lanes.values():
            lane.close()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Open a lane per partition and ask, without holding up the group, where it goes on."""
        lost = self.lanes.keys() - assigned
        self._config.on_rebalance()
        for lane in self.lanes.values():
            lane.close()
        self.lanes = {tp: Lane(tp) for tp in assigned if tp.topic == self._config.topic}
        for tp in lost:
            self._runs_app.forget(tp.partition)
        await super().on_partitions_assigned(assigned, generation_id)
        for lane in self.lanes.values():
            self.resume(lane)

    def resume(self, lane: Lane) -> None:
        """Ask where a partition goes on; until then it stands still."""
        lane.is_ready = False
        lane.session += 1
        if lane.resuming is not None:
            lane.resuming.cancel()
        lane.resuming = asyncio.create_task(self._resume(lane))

    async def _resume(self, lane: Lane) -> None:
        try:
            # One that was cancelled may still be clearing away what this one would build on.
            async with self._resuming[lane.tp]:
                offset = await self._runs_app.resume_at(lane.tp.partition)
        except (Exception, asyncio.CancelledError) as error:
            # A client that is stopped too early cancels its caller: then nobody asked for it, and
            # the partition would stand still in silence.
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            log.exception("No position to resume from", partition=lane.tp.partition)
            process_exit.die_of(error, "no position to resume from")
        if lane.is_live:
            lane.seek(offset)
            lane.acked_to = lane.committed_to = offset
            self.wake()

    async def perform_seek(self) -> None:
        """Faust would go to Kafka's committed offsets here; `resume_at` says where to go."""

    # Fetching -------------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):  # noqa: SLF001
                await self._fetch_once()
        except ConsumerStoppedError:
            if not self.app.should_stop:
                raise

    async def _fetch_once(self) -> None:
        if not self.flow_active:
            await self.wait(cast("Any", self.can_resume_flow))
            return
        await self._seek_lanes()
        active = self._get_active_partitions()
        lanes = {
            tp: (lane, lane.session)
            for tp, lane in self.lanes.items()
            if lane.is_ready
            and lane.seek_to is None
            and lane.buffered_bytes < self._config.buffered_bytes_max
            and tp in active
        }
        if not lanes:
            self._wakened.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wakened.wait(), timeout=0.1)
            return
        fetched = await self._getmany(active_partitions=set(lanes), timeout=0.1)
        for topic_partition, records in fetched.items():
            lane, session = lanes[ensure_TP(topic_partition)]
            await self._hand_over(lane, session, records)

    async def _seek_lanes(self) -> None:
        """Seek in this loop only: what is fetched afterwards is of the new position for sure."""
        for lane in list(self.lanes.values()):
            while lane.is_live and lane.seek_to is not None:
                offset, lane.seek_to = lane.seek_to, None
                try:
                    await self._thread.call_thread(self._seek_in_thread, lane.tp, offset)
                except IllegalStateError:
                    lane.is_ready = False  # taken away meanwhile; the next assignment asks again
                    break

    async def _seek_in_thread(self, tp: TP, offset: int) -> None:
        self._thread._ensure_consumer().seek(  # noqa: SLF001 -- Faust has no public way
            TopicPartition(tp.topic, tp.partition), offset
        )

    async def _hand_over(self, lane: Lane, session: int, records: Sequence[Record]) -> None:
        config = self._config
        for chunk, size in cut(records, config.run_records_max, config.run_bytes_max):
            if not (lane.is_live and lane.session == session):
                return
            run = Run(lane, session, chunk, size, self)
            lane.buffered_bytes += size
            lane.in_hand.append((chunk[0].offset, chunk[0].timestamp))
            await self.callback(self._run_message(lane.tp, run))

    def _run_message(self, tp: TP, run: Run) -> Any:
        first = run.records[0]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            first.offset,
            first.timestamp / 1_000,
            first.timestamp_type,
            None,
            None,
            cast("Any", run),
            None,
            0,
            run.size_bytes,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    def was_lost(self, lane: Lane, session: int) -> None:
        """Read again what is not done: Faust clears its queues at odd times (its issue 596).

        Nothing may come behind a lost run by which the loss would show. Called from any thread.
        """

        def read_again() -> None:
            if lane.is_live and lane.session == session:
                log.warning("A run was lost, reading again", tp=lane.tp, offset=lane.acked_to)
                lane.seek(lane.acked_to)
                self.wake()

        with contextlib.suppress(RuntimeError):  # The loop is closed: so is everything.
            self.loop.call_soon_threadsafe(read_again)

    # Acknowledging and committing -----------------------------------------------------------

    def ack(self, message: Any) -> bool:
        """Faust acknowledges only what it skips itself; `Run.ack` says what is done."""
        self.untrack(message)
        return True

    def untrack(self, message: Any) -> None:
        """No rebalance and no shutdown waits for this message any longer."""
        message.acked = True
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what `Run.ack` reported."""
        del topics, start_new_transaction
        lanes = [lane for lane in self.lanes.values() if lane.acked_to > lane.committed_to]
        offsets = {lane.tp: lane.acked_to for lane in lanes}
        if not offsets or not await self._thread.commit(offsets):
            return False
        for lane in lanes:
            lane.committed_to = max(lane.committed_to, offsets[lane.tp])
        return True

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's own stall detector knows nothing of runs; deploy.runtime.watchdog watches."""

    def lag(self) -> dict[int, int]:
        """Records of each partition that are not acknowledged, as far as the fetcher knows."""
        found = {}
        for lane in self.lanes.values():
            with contextlib.suppress(IllegalStateError, AssertionError):
                highwater = self.highwater(lane.tp)
                if highwater is not None and lane.acked_to >= 0:
                    found[lane.tp.partition] = max(0, highwater - lane.acked_to)
        return found

    def oldest_ms(self) -> dict[int, int]:
        """Broker time of the oldest record in hand, by partition; those that have none are not."""
        return {tp.partition: lane.in_hand[0][1] for tp, lane in self.lanes.items() if lane.in_hand}


def _is_cancelled() -> bool:
    """Whether somebody cancelled the task that asks."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class RunTransport(faust_aiokafka.Transport):
    """Faust's aiokafka transport with our consumer."""

    Consumer = cast("Any", RunConsumer)

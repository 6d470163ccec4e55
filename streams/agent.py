"""The agent over `usage.raw`: from a run of records to rated batches, in the data's order.

A partition is folded before its first run; whoever dies there has written nothing. A run is
admitted, decoded, cut into parts; each part goes through `STEPS`; then the run is acknowledged.
What if the process dies after a step:

    dedupe                  nothing was written; the next owner's fold ends where this one's did,
                            and the same records are read and decided again
    price, total            as above
    send                    nobody knows whether Kafka has the batch. The next owner's fold does: it
                            goes on behind it, or at the same records
    await_acknowledgement   Kafka has the batch: every fold goes on behind it, sinks apply it once
    remember                as above; what was remembered is in the log, and so in the fold

Then Kafka's offset moves, a hint for those who watch the lag. What a *frozen* process still sends
when it wakes up counts where it is first in the log; where its successor was, every sink and every
fold clips it.

Nothing else that matters is written beside the rated batch, and nothing is remembered or
acknowledged before Kafka has it. Partitions are worked on side by side, each one run at a time with
one batch in flight. Any exception ends the process uncommitted: what was rated, the fold tells.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from deploy.runtime import exit as process_exit
from deploy.runtime.runs import Run, RunsApp
from deploy.runtime.tracing import Traces, Tracing, traced, traces_header
from schemas.formats import NewerFormatError
from schemas.rated import BrokerTimes, Cover, Fold, Kind, RatedBatch, Total, encode_batch
from streams.breaker import Breaker
from streams.decode import decode_record
from streams.errors import LogsDisagreeError
from streams.guard import Admitted, Guard
from streams.last_death import LastDeath
from streams.log_reader import LOG_APPEND_TIME
from streams.metrics import Metrics
from streams.price_book import PriceTable, QuarantineTable
from streams.producer import RatedProducer, Sent, headers_of
from streams.quick.rating import JudgedPart, PartVerdicts, judge, settle
from streams.quick.records import DecodedRecords, all_unusual, decode
from streams.recovery import Recovery
from streams.seen import SeenPartition, SeenTable
from streams.settings import StreamsSettings
from streams.totals import count

log = structlog.get_logger("streams")

HOLD_SECONDS = 5.0
HOLD_LOOKS = 50


@dataclass(slots=True)
class Part:
    """What one rated batch covers: whole records of a run, from `first_offset` on."""

    run: Run
    first_offset: int
    records: DecodedRecords
    started: float
    judged: JudgedPart | None = None
    verdicts: PartVerdicts = field(default_factory=PartVerdicts)
    price_revision: int = 0
    broker_times: BrokerTimes = ()
    totals: list[Total] = field(default_factory=list)
    fold: Fold | None = None
    sent: Sent | None = None
    rated_offset: int = -1
    is_void: bool = False  # the run is not ours to go on with
    traces: Traces = ()  # of its records; none while nobody asked for traces

    @property
    def partition(self) -> int:
        """The partition's number."""
        return self.run.partition

    @property
    def next_offset(self) -> int:
        """One beyond the last record."""
        return self.records.next_offset


@dataclass(frozen=True, slots=True)
class Parts:
    """What the agent works with."""

    settings: StreamsSettings
    app: RunsApp
    table: SeenTable
    recovery: Recovery
    guard: Guard
    producer: RatedProducer
    prices: PriceTable
    quarantine: QuarantineTable
    metrics: Metrics
    last_death: LastDeath


class StreamsAgent:
    """Turns runs into rated batches."""

    def __init__(self, uses: Parts, tracing: Tracing | None = None) -> None:
        self._uses = uses
        self._tracing = tracing
        self._breaker = Breaker(
            uses.settings.dead_letter_share_max, uses.settings.dead_letter_count_min
        )
        self._queues: dict[int, asyncio.Queue[Run]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._held: set[int] = set()  # partitions that stand still for too many dead letters

    async def process(self, runs: AsyncIterator[Run]) -> None:
        """Hand each run to its partition's worker. What waits there is bounded in bytes."""
        try:
            async for run in runs:
                self._queue(run.partition).put_nowait(run)
        finally:
            for worker in self._workers:
                worker.cancel()

    def _queue(self, partition: int) -> "asyncio.Queue[Run]":
        queue = self._queues.get(partition)
        if queue is None:
            queue = self._queues[partition] = asyncio.Queue()
            worker = asyncio.create_task(self._work(queue))
            self._workers.add(worker)
        return queue

    async def _work(self, queue: "asyncio.Queue[Run]") -> None:
        while True:
            run = await queue.get()
            try:
                await self._process_run(run)
            except asyncio.CancelledError:
                raise
            except (LogsDisagreeError, NewerFormatError) as error:
                process_exit.die(str(error), process_exit.ExitCode.REFUSED)
            except BaseException as error:
                log.exception("A run could not be rated")
                culprit = self._culprit(run)
                if culprit is not None:
                    self._uses.last_death.note(run.partition, culprit)
                process_exit.die(
                    f"a run could not be rated: {error!r}",
                    partition=run.partition,
                    first_offset=run.first_offset,
                    next_offset=run.next_offset,
                    offset=culprit,  # the one to quarantine; None: no single record
                )

    def _culprit(self, run: Run) -> int | None:
        """Return the offset of the record that cannot be rated even by itself."""
        for record in run.records:
            try:
                decoded = self._decode(run.partition, Admitted(record.offset, [record]))
                part = Part(run, record.offset, decoded, time.monotonic())
                part.judged = judge(decoded, self._seen(run.partition))
                self._settle(part)
                _sum_up(part)
                batch, fold = _batch_of(part), _fold_of(part)
                encode_batch(batch, part.verdicts.encoded)
                headers_of(batch, fold)
            except Exception:
                log.exception("This record", partition=run.partition, offset=record.offset)
                return int(record.offset)
        return None

    async def _process_run(self, run: Run) -> None:
        if not run.is_current:
            run.release()
            return
        position = self._seen(run.partition).fold.next_offset
        admitted = await self._uses.guard.admit(run.partition, position, run.records)
        if admitted is None:
            self._go_back(run)
            return
        first_offset = admitted.first_offset
        settings = self._uses.settings
        for records in self._decode(run.partition, admitted).parts(
            settings.batch_events_max, settings.batch_bytes_max
        ):
            if not run.is_current:  # a rebalance waits, or the process ends
                run.release()
                return
            part = Part(run, first_offset, records, time.monotonic())
            if self._tracing is not None:
                within = range(part.first_offset, part.next_offset)
                part.traces = traced(one for one in admitted.records if one.offset in within)
            for step in STEPS:
                await self.run_step(step, part)
                if part.is_void:
                    self._go_back(run)
                    return
            first_offset = part.next_offset
            await asyncio.sleep(0)  # a run of many events must not hold the others up
        run.ack()

    async def run_step(self, step: "Step", part: Part) -> None:
        """Run one step. Tests put their crashes around this method."""
        await step(self, part)

    def _seen(self, partition: int) -> SeenPartition:
        return self._uses.table.partition(partition)

    def _go_back(self, run: Run) -> None:
        """Put the run away and read the partition again from where the fold stands."""
        is_current = run.is_current
        run.release()
        if is_current:
            position = self._seen(run.partition).fold.next_offset
            self._uses.app.seek_back(run.partition, position)

    # The steps ------------------------------------------------------------------------------

    def _decode(self, partition: int, admitted: Admitted) -> DecodedRecords:
        policy = self._uses.settings.timestamp_policy
        quarantine = self._uses.quarantine
        if not quarantine.holds_any(partition, admitted.records):
            return decode(admitted.records, policy)
        latest_ms = self._seen(partition).clock.latest_ms
        decoded = [
            decode_record(
                record,
                record.timestamp if record.timestamp_type == LOG_APPEND_TIME else latest_ms,
                policy,
                quarantine.reason(partition, record.offset),
            )
            for record in admitted.records
        ]
        return all_unusual(admitted.records, decoded)

    async def dedupe(self, part: Part) -> None:
        """Ask `seen` which events were charged before."""
        part.judged = judge(part.records, self._seen(part.partition))

    async def price(self, part: Part) -> None:
        """Give each event its verdict; stand still while too many would be dead letters."""
        try:
            while True:
                self._settle(part)
                events = part.verdicts.events
                letters = part.verdicts.others.letters_by_customer
                now = time.monotonic()
                if self._breaker.admits(now, events, letters):
                    self._breaker.count(now, events, letters)
                    return
                self._held.add(part.partition)
                self._uses.metrics.stopped.set(1)
                await self._hold(part)
                if not part.run.is_current:
                    part.is_void = True
                    return
        finally:
            self._held.discard(part.partition)
            self._uses.metrics.stopped.set(1 if self._held else 0)

    def _settle(self, part: Part) -> None:
        if part.judged is None:
            raise AssertionError("priced before it was judged")
        book = self._uses.prices.book
        part.verdicts = settle(part.records, part.judged, book, self._uses.settings.window_ms)
        part.price_revision = book.revision

    async def _hold(self, part: Part) -> None:
        settings = self._uses.settings
        log.error(
            "Too many dead letters: the stage stands still and tries again. If they are right, "
            "raise DEAD_LETTER_SHARE_MAX or DEAD_LETTER_COUNT_MIN and restart",
            partition=part.partition,
            offset=part.first_offset,
            reasons={str(reason): n for reason, n in part.verdicts.others.letters.items()},
            customers=len(part.verdicts.others.letters_by_customer),
            price_revision=part.price_revision,
            dead_letter_share_max=settings.dead_letter_share_max,
            dead_letter_count_min=settings.dead_letter_count_min,
        )
        for _ in range(HOLD_LOOKS):
            if part.run.is_current:  # a rebalance waits for this run
                await asyncio.sleep(HOLD_SECONDS / HOLD_LOOKS)

    async def total(self, part: Part) -> None:
        """Sum up what customers are charged, per hour."""
        _sum_up(part)

    async def send(self, part: Part) -> None:
        """Send the rated batch."""
        part.fold = _fold_of(part)
        batch = _batch_of(part)
        value = encode_batch(batch, part.verdicts.encoded)
        part.sent = await self._uses.producer.send(value, batch, part.fold, *_more(part))

    async def await_acknowledgement(self, part: Part) -> None:
        """Wait until Kafka has the rated batch."""
        if part.sent is None:
            raise AssertionError("awaited before it was sent")
        part.rated_offset = await self._uses.producer.acknowledged(part.sent)

    async def remember(self, part: Part) -> None:
        """Take what was written into `seen`; when somebody else wrote, too, fold the log again."""
        state = self._seen(part.partition)
        if part.fold is None:
            raise AssertionError("remembered before it was written")
        if part.rated_offset == state.rated_offset:
            if state.apply(part.fold, part.rated_offset) is not Cover.NEXT:
                raise AssertionError(f"the batch at {part.first_offset} does not follow the fold")
            batch = _batch_of(part)
            self._uses.recovery.add_totals(batch, part.verdicts.entries, part.rated_offset)
        else:
            self._uses.metrics.folds_again.inc()
            log.warning(
                "Somebody else wrote to usage.rated, folding again",
                partition=part.partition,
                expected_offset=state.rated_offset,
                offset=part.rated_offset,
            )
            if 0 <= part.rated_offset < state.rated_offset:
                # The log lost its end: what was folded from there is not so.
                self._uses.recovery.forget(part.partition)
            await self._uses.recovery.catch_up(part.partition)
            part.is_void = self._seen(part.partition).fold.next_offset != part.next_offset
        self._measure(part)

    def _measure(self, part: Part) -> None:
        metrics, verdicts, others = self._uses.metrics, part.verdicts, part.verdicts.others
        metrics.batches.inc()
        metrics.batch_events.observe(verdicts.events)
        seconds = time.monotonic() - part.started
        metrics.batch_seconds.observe(seconds)
        metrics.events.labels("charged").inc(verdicts.charged)
        metrics.events.labels("duplicate").inc(others.duplicates)
        metrics.events.labels("dead-letter").inc(others.letter_count)
        for reason, number in others.letters.items():
            metrics.dead_letters.labels(str(reason)).inc(number)
        if self._tracing is not None:
            self._tracing.spans("rate", part.traces, seconds, {"partition": part.partition})
        log.info(
            "Batch rated",
            partition=part.partition,
            offsets=(part.first_offset, part.next_offset),
            ratedOffset=part.rated_offset,
            charged=verdicts.charged,
            duplicates=others.duplicates,
            deadLetters=others.letter_count,
            processingTimeMs=round(seconds * 1_000),
        )


Step = Callable[[StreamsAgent, Part], Awaitable[None]]

# The order is the guarantee.
STEPS: tuple[Step, ...] = (
    StreamsAgent.dedupe,
    StreamsAgent.price,
    StreamsAgent.total,
    StreamsAgent.send,
    StreamsAgent.await_acknowledgement,
    StreamsAgent.remember,
)


def _sum_up(part: Part) -> None:
    part.broker_times = part.records.run_length()
    part.totals = count(part.verdicts.charges, part.broker_times)


def _batch_of(part: Part) -> RatedBatch:
    return RatedBatch(
        partition=part.partition,
        first_offset=part.first_offset,
        next_offset=part.next_offset,
        price_revision=part.price_revision,
        broker_times=part.broker_times,
        events=part.verdicts.others.entries,  # the rest was encoded
        totals=part.totals,
    )


def _more(part: Part) -> list[tuple[str, bytes]]:
    return [traces_header(part.traces)] if part.traces else []


def _fold_of(part: Part) -> Fold:
    return Fold(
        Kind.RATED,
        part.first_offset,
        part.next_offset,
        part.broker_times,
        part.verdicts.positions,
        part.verdicts.identities,
    )

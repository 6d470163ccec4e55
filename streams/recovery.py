"""Where a partition goes on, and with what state: the fold of its rated batches.

At an assignment, and whenever somebody else wrote to `usage.rated`, the partition's rated batches
are folded by the sink's rule. That yields `seen`, the burns not yet published, and the position to
resume from; neither Kafka's committed offsets nor Faust's are believed (rule 2).
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import orjson
import structlog
from aiokafka.errors import KafkaError

from schemas.rated import (
    TOTALS_HEADER,
    Cover,
    Entry,
    Kind,
    RatedBatch,
    Total,
    decode_batch,
)
from schemas.topics import Topics
from streams.burns import Burns
from streams.errors import LogEndsBelowError, LogMadeAgainError, LogStartsAboveError
from streams.fold_progress import FoldProgress
from streams.log_reader import LOG_APPEND_TIME, LogReader
from streams.metrics import Metrics
from streams.rated_fold import BegunTooLateError
from streams.seen import CLOCK_SLACK_MS, SeenPartition, SeenTable, clip_times, fold_of
from streams.totals import charges_of

log = structlog.get_logger("recovery")

RETRY_SECONDS = 1.0
# After a fold; what is left to the first look-up would hold everything else up.
INDEXED_AT_ONCE = 50_000
LOOK_SECONDS = 2.0
# Broker times of records that follow one another without a pause are closer than this.
PAUSE_MS = 250


@dataclass(frozen=True, slots=True)
class Start:
    """Where a fold begins, and from which time of `usage.rated` on its rule is strict."""

    offset: int
    strict_from_ms: int
    is_log_start: bool


class Recovery:
    """Folds partitions of `usage.rated` into `seen` and the burns."""

    def __init__(
        self,
        table: SeenTable,
        burns: Burns,
        reader: LogReader,
        topics: Topics,
        metrics: Metrics,
    ) -> None:
        self._table = table
        self._burns = burns
        self._reader = reader
        self._topics = topics
        self._metrics = metrics
        self._window_ms = table.window_ms

    async def resume_at(self, partition: int) -> int:
        """Fold what is new and return the position to go on from. Waits while Kafka is away.

        Raises LogsDisagreeError when a person must decide.
        """
        while True:
            await self.catch_up(partition)
            try:
                await self.check_log(partition)
            except KafkaError as error:
                await self._wait_for_kafka(partition, error)
            else:
                return self._table.partition(partition).fold.next_offset

    async def _wait_for_kafka(self, partition: int, error: KafkaError) -> None:
        log.warning(
            "Kafka is away, will try again",
            service="queue",
            partition=partition,
            error=repr(error),
        )
        await asyncio.sleep(RETRY_SECONDS)

    def forget(self, partition: int) -> None:
        """Drop the state of a partition that another worker has now."""
        self._table.forget(partition)
        self._burns.forget(partition)
        self._metrics.fold_share.remove(str(partition))

    async def catch_up(self, partition: int) -> None:
        """Fold the rated batches not folded yet, up to the log's end. Waits while Kafka is away."""
        while True:
            try:
                await self._catch_up(partition)
            except KafkaError as error:
                await self._wait_for_kafka(partition, error)
            else:
                return

    async def _catch_up(self, partition: int) -> None:
        started = time.monotonic()
        begin, end = await self._reader.bounds(self._topics.rated, partition)
        state = self._table.partition(partition)
        is_fresh = not state.fold.is_known or not begin <= state.rated_offset <= end
        try:
            folded = await self._fold(partition, begin, end, is_fresh=is_fresh)
        except BaseException:
            self.forget(partition)  # half a fold is no state
            raise
        seconds = time.monotonic() - started
        self._metrics.fold_seconds.observe(seconds)
        state = self._table.partition(partition)
        log.info(
            "Partition folded" if is_fresh else "Partition folded on",
            partition=partition,
            rated_batches=folded,
            identities=len(state),
            resume_at=state.fold.next_offset,
            seconds=round(seconds, 3),
        )

    async def _fold(self, partition: int, begin: int, end: int, *, is_fresh: bool) -> int:
        whole = Start(begin, 0, is_log_start=True)
        try:
            if not is_fresh:
                at = self._table.partition(partition).rated_offset
                return await self._fold_from(partition, Start(at, 0, is_log_start=False), end)
            await self._begin(partition, begin, end)
            return await self._fold_from(partition, await self._start(partition, begin, end), end)
        except BegunTooLateError as error:
            log.warning("Folding the whole log", partition=partition, reason=str(error))
            await self._begin(partition, begin, end)
            return await self._fold_from(partition, whole, end)

    async def _begin(self, partition: int, begin: int, end: int) -> None:
        self.forget(partition)
        await self._burns.load(partition)
        is_same = await self._is_log_of_burns(partition, begin, end)
        if not is_same:
            log.warning(
                "usage.rated was cut off or made again: burns go on from the last position counted",
                partition=partition,
                counted_to=self._burns.rated_end(partition),
                rated_end=end,
                position=self._burns.last(partition).position,
            )
        self._burns.settle_on_log(partition, is_same=is_same)

    async def _is_log_of_burns(self, partition: int, begin: int, end: int) -> bool:
        """Tell whether `usage.rated` holds the batch that the latest burn was counted from.

        One that lost its end may have grown beyond it since: another batch is in its place then.
        """
        last = self._burns.last(partition)
        if self._burns.rated_end(partition) > end:
            return False
        if last.rated_offset < begin:  # nothing was counted, or the batch expired
            return True
        found = await self._reader.first_of_each(
            self._topics.rated, partition, [last.rated_offset], end
        )
        return all(
            fold_of(record.headers).next_offset == last.position
            for record in found
            if record.offset == last.rated_offset
        )

    async def _fold_from(self, partition: int, start: Start, end: int) -> int:
        state = self._table.partition(partition)
        if start.is_log_start:
            # A log that lost nothing to retention may have lost its end, and been written to again:
            # then what the raw log holds below its first batch was not rated.
            at_most = None
            if start.offset == 0:
                at_most, _ = await self._reader.bounds(self._topics.raw, partition)
            state.fold.start_with_log(at_most)
        folded = 0
        progress = FoldProgress(partition, start.offset, end, self._metrics.fold_share)
        async for records in self._reader.stretch(self._topics.rated, partition, start.offset, end):
            for record in records:
                if record.timestamp >= start.strict_from_ms:
                    state.fold.settle()
                self.apply_record(partition, state, record)
            if records:
                folded += len(records)
                progress.reach(records[-1].offset + 1, len(state))
        while state.index(INDEXED_AT_ONCE):  # noqa: ASYNC110 - others have their turn in between
            await asyncio.sleep(0)
        state.fold.settle()
        state.rated_offset = max(state.rated_offset, end)
        progress.finish()
        if not state.fold.is_known:
            # Nothing was rated, or nothing for longer than rated batches are kept. What the raw log
            # still holds is rated again: sinks clip what they have, and name what they lack.
            first, _ = await self._reader.bounds(self._topics.raw, partition)
            state.fold.start_at(first)
        return folded

    async def _start(self, partition: int, begin: int, end: int) -> Start:
        """Begin a window before the last rated record: no later one can need what is older."""
        last = None
        if end > begin:
            last = await self._reader.first_at(self._topics.rated, partition, end - 1, LOOK_SECONDS)
        if last is None:
            return Start(begin, 0, is_log_start=True)
        times = fold_of(last.headers).broker_times
        last_ms = times[-1][1] if times else last.timestamp
        strict_from_ms = last_ms - self._window_ms
        offset = await self._reader.offset_at(
            self._topics.rated, partition, strict_from_ms - CLOCK_SLACK_MS
        )
        # One batch earlier: it tells where the others must begin, should the first be ahead.
        before = begin if offset is None else offset - 1
        start = max(begin, min(before, self._burns.folded_to(partition)))
        return Start(start, strict_from_ms, is_log_start=start == begin)

    def apply_record(self, partition: int, state: SeenPartition, record: Any) -> None:
        """Fold one record of `usage.rated` into `seen` and the burns."""
        fold = fold_of(record.headers)
        below = state.fold.next_offset
        covering = state.apply(fold, record.offset)
        if covering is Cover.AHEAD:
            self._metrics.ahead.inc()
            log.warning(
                "A rated batch starts ahead and is passed over",
                partition=partition,
                first_offset=fold.first_offset,
                next_offset=below,
            )
        elif (
            covering is Cover.NEXT
            and fold.kind is Kind.RATED
            and record.offset >= self._burns.folded_to(partition)
        ):
            totals = _totals_of(record)
            if totals is not None and self._counts_whole(partition, fold.first_offset, below):
                self._burns.add(partition, totals, fold.next_offset, record.offset)
            else:
                self._add_charges(decode_batch(record.value), below, record.offset)
        elif covering is Cover.NEXT and fold.kind is Kind.NEW_EPOCH:
            self._burns.begin_epoch(partition)

    def add_totals(
        self, batch: RatedBatch, entries: Callable[[], list[Entry]], rated_offset: int
    ) -> None:
        """Add the totals of a batch that this worker wrote itself; `entries` returns all of it."""
        first = batch.first_offset
        if self._counts_whole(batch.partition, first, first):
            self._burns.add(batch.partition, batch.totals, batch.next_offset, rated_offset)
        else:
            self._add_charges(replace(batch, events=entries()), first, rated_offset)

    def _counts_whole(self, partition: int, first_offset: int, below: int) -> bool:
        return max(below, self._burns.counted_to(partition)) <= first_offset

    def _add_charges(self, batch: RatedBatch, below: int, rated_offset: int) -> None:
        entries = [entry for entry in batch.events if entry["offset"] >= below]
        times = clip_times(batch.broker_times, below)
        self._burns.add_charges(
            batch.partition, charges_of(entries), times, batch.next_offset, rated_offset
        )

    async def check_log(self, partition: int) -> None:
        """Compare what was rated with what `usage.raw` holds below the position.

        A log that was cut off or made again, and has grown past the position since, holds records
        of other broker times there; a true log never does: a record's time is written once.

        Raises LogsDisagreeError when a person must decide, KafkaError when Kafka is away.
        """
        state = self._table.partition(partition)
        clock, position = state.clock, state.fold.next_offset
        begin = await self.check_bounds(partition, position)
        samples = clock.samples(position)
        if not samples:
            return
        # Whatever took the place of other records came later than all of them.
        later = await self._reader.first_later(self._topics.raw, partition, clock.latest_ms)
        if later is not None and later < position:
            samples.append(later)
        offsets = [offset for offset in samples if offset >= begin]
        for record in await self._reader.first_of_each(
            self._topics.raw, partition, offsets, position
        ):
            was_ms = clock.at(record.offset)
            # A record with its producer's time was set aside, and noted with the broker's latest.
            if was_ms is None or record.timestamp_type != LOG_APPEND_TIME:
                continue
            if record.timestamp != was_ms:
                raise LogMadeAgainError(
                    self._topics.raw, partition, record.offset, record.timestamp, was_ms
                )

    async def check_while_running(self, partition: int, broker_ms: int) -> None:
        """Make sure that the log below a run is still the one that was rated; waits for Kafka.

        A broker that loses the end of its log is away for a while, so only a run whose first record
        comes a pause after the last one rated may follow something lost: that is asked, by one
        request, and nothing else costs anything.

        Raises LogsDisagreeError when a person must decide.
        """
        clock = self._table.partition(partition).clock
        if 0 <= broker_ms - clock.last_ms < PAUSE_MS:
            return
        is_rising = broker_ms >= clock.last_ms == clock.latest_ms
        while True:
            try:
                if not is_rising or await self._is_replaced(partition):
                    await self.check_log(partition)
            except KafkaError as error:
                await self._wait_for_kafka(partition, error)
            else:
                return

    async def _is_replaced(self, partition: int) -> bool:
        """Tell whether the log holds a record below the position that is later than all rated."""
        state = self._table.partition(partition)
        later = await self._reader.first_later(self._topics.raw, partition, state.clock.latest_ms)
        return later is not None and later < state.fold.next_offset

    async def check_bounds(self, partition: int, position: int) -> int:
        """Return the first offset of `usage.raw` that is left.

        Raises LogsDisagreeError when that lies above the position, or the log's end below it.
        """
        begin, end = await self._reader.bounds(self._topics.raw, partition)
        if begin > position:
            raise LogStartsAboveError(self._topics.raw, partition, position, begin)
        if end < position:
            raise LogEndsBelowError(self._topics.raw, partition, position, end)
        return begin


def _totals_of(record: Any) -> list[Total] | None:
    for name, value in record.headers:
        if name == TOTALS_HEADER:
            return cast("list[Total]", orjson.loads(value))
    return None

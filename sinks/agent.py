"""The sink: rated batches of many runs into one Postgres transaction, exactly once.

Read from top to bottom, `STEPS` is the order of commit. What if the process dies after a step:

    begin               nothing was written; the records are read again from `rated_offset`
    lock_offsets        as above; Postgres frees the rows with the connection. A *frozen* process
                        keeps them: others leave its partitions out, and end its session after 10 s
    clip_records        as above; nothing was written
    check_customers     as above
    copy_events         as above: what was written is rolled back with the transaction
    void_events         as above
    lock_wallets        as above; a wallet that was made for the customer is gone, too
    copy_transactions   as above
    refund              as above
    update_wallets      as above
    verify_duplicates   as above; it reads what is written, of this transaction and before
    copy_letters        as above
    copy_batches        as above
    advance_offsets     as above
    commit              all of it is durable. Kafka may not know: the next owner starts at
                        `SinkOffset.rated_offset`, whatever Kafka's committed offset says, and what
                        it reads below `next_offset` is clipped as a replay
    acknowledge         Kafka's offset, a hint for those who watch the lag, moves, too

When the connection is lost *during* commit nobody knows whether it happened. Nothing is assumed:
the same records are tried again, and `lock_offsets` reads the truth under the lock.

Errors: values that Postgres refuses become dead letters in the transaction; deadlocks and
serialisation failures are tried again at once; an absent Postgres is waited for, for ever; logs
that contradict the ledger end the process with a name and a remedy; anything else is a bug and
ends it, too. Nothing is ever skipped.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import psycopg
import structlog

from deploy.runtime.exit import ExitCode, die
from deploy.runtime.runs import Run
from deploy.runtime.tracing import Tracing
from sinks import metrics
from sinks.batch import LogMadeAgainError, RatedRecord, read_records
from sinks.debits import copy_transactions, lock_wallets, update_wallets
from sinks.inbox import Gathering, Inbox
from sinks.postgres import (
    BLOCKED_SECONDS,
    Connection,
    Remedy,
    connect,
    read_offsets,
    remedy_for,
    rollback,
    terminate_holders,
    unblocking,
)
from sinks.report import export_spans, report
from sinks.settings import SinkSettings
from sinks.transaction import (
    LedgerWentBackError,
    OffsetRowMissingError,
    Work,
    advance_offsets,
    begin,
    check_customers,
    clip_records,
    commit,
    copy_batches,
    copy_events,
    copy_letters,
    lock_offsets,
    verify_duplicates,
)
from sinks.voids import refund, void_events

log = structlog.get_logger("sinks")

RETRY_SECONDS_MIN = 0.1
RETRY_SECONDS_MAX = 5.0
LEFT_OUT_RETRY_SECONDS = 0.1
LOOK_BEHIND_SECONDS = 10.0
REST_SECONDS_MAX = 0.002

Step = Callable[[Work], Awaitable[None]]


async def acknowledge(work: Work) -> None:
    """Let go of the runs whose partitions were applied."""
    work.on_committed(work)


STEPS: tuple[Step, ...] = (
    begin,
    lock_offsets,
    clip_records,
    check_customers,
    copy_events,
    void_events,
    lock_wallets,
    copy_transactions,
    refund,
    update_wallets,
    verify_duplicates,
    copy_letters,
    copy_batches,
    advance_offsets,
    commit,
    acknowledge,
)


# Postgres is busy with these for long. The answers to the others come at once, and there are many.
LONG_STEPS = frozenset({copy_events, copy_transactions, commit})


async def run_step(step: Step, work: Work) -> None:
    """Run one step. Tests put their crashes around this function."""
    await step(work)


async def apply(work: Work, leisure: asyncio.Event | None = None) -> None:
    """Run all steps, in their order. `leisure`: is set while there is time for other work."""
    for step in STEPS:
        if leisure is not None:
            (leisure.set if step in LONG_STEPS else leisure.clear)()
        await run_step(step, work)


class Consumer(Protocol):
    """What the agent asks of the app that hands it runs."""

    def resume_again(self, partition: int) -> None:
        """Void what was handed over of a partition and ask where it goes on."""


class SinkAgent:
    """Reads runs, gathers them, commits them; one connection, one transaction at a time."""

    consumer: Consumer

    def __init__(self, settings: SinkSettings, tracing: Tracing | None = None) -> None:
        self._settings = settings
        self._tracing = tracing
        self._topic = settings.topics.raw
        self._inbox = Inbox(settings.sink_batch_events, settings.sink_batch_milliseconds / 1_000)
        self._connection: Connection | None = None
        self._expects_conflicts = False
        self._rated_offsets: dict[int, int] = {}  # of SinkOffset, as this worker last saw them
        self._expected: dict[int, int] = {}  # where the next run of a partition should begin
        self._looked_again: dict[int, int] = {}  # partition -> expected offset looked for twice
        # Since when a partition has been tried in vain without a break; monotonic seconds.
        self._left_out_since: dict[int, float] = {}
        self._looked_behind: dict[int, float] = {}  # partition -> monotonic seconds
        self._retry_seconds = RETRY_SECONDS_MIN
        self._leisure = asyncio.Event()
        self._leisure.set()

    def resumed(self, partition: int, offset: int, ledger_rated_offset: int) -> None:
        """Note that a partition is read from `offset` on, and where its ledger stands.

        The two differ when retention took records that nobody needs to read any more.
        """
        self._rated_offsets[partition] = ledger_rated_offset
        self._expected[partition] = offset
        self._left_out_since.pop(partition, None)

    def forget(self, partition: int) -> None:
        """The partition was taken away."""
        for memory in (self._rated_offsets, self._expected, self._looked_again):
            memory.pop(partition, None)
        self._left_out_since.pop(partition, None)
        metrics.GAPPED.labels(partition).set(0)

    async def process(self, runs: AsyncIterator[Run]) -> None:
        """The agent: take runs in here; read them, and commit them, beside it."""
        try:
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(self._read()), group.create_task(self._write())]
                async for run in runs:
                    self._take_in(run)
                for task in beside:
                    task.cancel()
        finally:
            self._inbox.release_all()
            if self._connection is not None:
                await self._connection.close()

    def _take_in(self, run: Run) -> None:
        expected = self._expected.get(run.partition, run.first_offset)
        if run.first_offset < expected:
            # The log ended below: asking again finds out, and says so.
            run.release()
            self._left_out_since.pop(run.partition, None)
            self.consumer.resume_again(run.partition)
            return
        if run.first_offset > expected and self._looked_again.get(run.partition) != expected:
            # Skipped by the consumer, or not in the log: look there once more. What waits here for
            # its transaction becomes void with it, so reading goes on from the ledger's position.
            log.warning(
                "Run begins late", partition=run.partition, at=run.first_offset, expected=expected
            )
            self._looked_again[run.partition] = expected
            run.release()
            self._left_out_since.pop(run.partition, None)
            self.consumer.resume_again(run.partition)
            return
        self._expected[run.partition] = run.next_offset
        self._inbox.put_unread(run)

    async def _read(self) -> None:
        """Decode and build rows while Postgres works; it waits for none of it for long."""
        while True:
            run, came_at = await self._inbox.next_unread()
            records: list[RatedRecord] = []
            for done in read_records((one.offset, one.value) for one in run.records):
                records += done
                await self._rest()
            self._inbox.put(run, records, came_at)

    async def _rest(self) -> None:
        """Let what waits have its turn: a step that waits for an answer alone, soon to come."""
        await asyncio.sleep(0)
        if not self._leisure.is_set():
            with contextlib.suppress(TimeoutError):  # it waits for a lock
                async with asyncio.timeout(REST_SECONDS_MAX):
                    await self._leisure.wait()

    async def _write(self) -> None:
        while True:
            gathering = await self._inbox.gather()
            try:
                await self._transact(gathering)
            except (LogMadeAgainError, OffsetRowMissingError) as error:
                die(str(error), ExitCode.REFUSED)
            except LedgerWentBackError as error:
                await self._go_back(error)
            except psycopg.Error as error:
                await self._recover(error)
            else:
                self._retry_seconds = RETRY_SECONDS_MIN

    async def _transact(self, gathering: Gathering) -> None:
        if self._connection is None:
            self._connection = await connect(self._settings.database_url)
        metrics.POSTGRES_UP.set(1)
        connection = self._connection
        work = Work(
            connection,
            self._topic,
            gathering.records(),
            self._rated_offsets,
            self._expects_conflicts,
            on_committed=lambda done: self._committed(gathering, done),
        )
        started_at = time.monotonic()
        try:
            async with unblocking(self._settings.database_url, connection.info.backend_pid):
                await apply(work, self._leisure)
        finally:
            self._leisure.set()
        seconds = time.monotonic() - started_at
        metrics.TRANSACTION_SECONDS.observe(seconds)
        if self._tracing is not None:
            export_spans(self._tracing, gathering, work, seconds)
        report(work, time.monotonic() - gathering.received_at)
        await self._press(work)

    def _committed(self, gathering: Gathering, work: Work) -> None:
        self._expects_conflicts = any(applied.conflicts for applied in work.applied)
        for clipped in work.clipped:
            reached = clipped.reached
            self._rated_offsets[reached.partition] = reached.rated_offset
            self._left_out_since.pop(reached.partition, None)
        self._inbox.done(gathering, frozenset(work.reached))
        for clipped in work.clipped:
            if clipped.is_gapped:
                self._look_behind(clipped.reached.partition)

    def _look_behind(self, partition: int) -> None:
        """A batch is missing: ask, now and then, whether the log is still the one that was read.

        One that lost its end and was written to since may hold what is missing below.
        """
        now = time.monotonic()
        if now - self._looked_behind.get(partition, -LOOK_BEHIND_SECONDS) >= LOOK_BEHIND_SECONDS:
            self._looked_behind[partition] = now
            self.consumer.resume_again(partition)

    async def _press(self, work: Work) -> None:
        """End the session of a sink that holds partitions of ours for too long."""
        now = time.monotonic()
        for partition in work.left_out:
            self._left_out_since.setdefault(partition, now)
            self._inbox.hold(partition, LEFT_OUT_RETRY_SECONDS)
        too_long = [
            partition
            for partition in work.left_out
            if now - self._left_out_since[partition] > BLOCKED_SECONDS
        ]
        if too_long:
            ended = await terminate_holders(work.connection, work.topic, too_long)
            metrics.TERMINATED.inc(len(ended))

    async def _go_back(self, error: LedgerWentBackError) -> None:
        log.error("The ledger went back: reading again from its position", reason=str(error))
        await self._drop_transaction()
        for partition in error.partitions:
            self._rated_offsets.pop(partition, None)
            self._left_out_since.pop(partition, None)
            self.consumer.resume_again(partition)

    async def look_at_ledger(self) -> None:
        """Have partitions read again whose ledger went back, though no record comes to show it.

        Raises psycopg.Error or OSError when Postgres is away.
        """
        seen = dict(self._rated_offsets)
        async with await connect(self._settings.database_url) as connection:
            found = await read_offsets(connection, self._topic, list(seen))
        for partition, reached in found.items():
            if reached.rated_offset < seen[partition]:
                log.error("The ledger went back: reading again", partition=partition)
                self._rated_offsets.pop(partition, None)
                self.consumer.resume_again(partition)

    async def _recover(self, error: psycopg.Error) -> None:
        """Wait as an error of Postgres calls for; a bug ends the process."""
        remedy = remedy_for(error)
        metrics.RETRIES.labels(error.sqlstate or "connection").inc()
        if remedy is Remedy.STOP:
            log.error("Postgres refuses the transaction", exc_info=error, sqlstate=error.sqlstate)
            die(f"Postgres refuses the transaction: {_first_line(error)}", sqlstate=error.sqlstate)
        if remedy is Remedy.AGAIN and self._connection is not None:
            log.info("Transaction tried again", sqlstate=error.sqlstate)
            await self._drop_transaction()
            await asyncio.sleep(random.uniform(0, RETRY_SECONDS_MIN))  # noqa: S311 -- no secret
            return
        metrics.POSTGRES_UP.set(0)
        log.warning(
            "Postgres is away, waiting",
            service="database",
            reason=_first_line(error),
            sqlstate=error.sqlstate,
            seconds=self._retry_seconds,
        )
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
        # Who held a partition before need not be who holds it when Postgres is back.
        self._left_out_since.clear()
        await asyncio.sleep(self._retry_seconds)
        self._retry_seconds = min(2 * self._retry_seconds, RETRY_SECONDS_MAX)
        self._inbox.drop_void()

    async def _drop_transaction(self) -> None:
        if self._connection is not None:
            await rollback(self._connection)
            if self._connection.closed:
                self._connection = None


def _first_line(error: Any) -> str:
    return str(error).strip().split("\n")[0]

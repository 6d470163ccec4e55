"""A replay: the streams' steps over a span of a log, the sinks' over what they rated.

    raw records --decode, judge, settle--> usage.rated.JOB --apply--> schema job_JOB

The code is that of the two processes; what is here only brings records to it. Killed at any moment,
the same command goes on: the job's own rated topic tells how far rating came (the fold of rule 2),
the schema's SinkOffset how far applying came (rule 4). Live topics, groups and rows are read only.
"""

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry
from psycopg import sql

from deploy.jobs import shadow
from deploy.jobs.live_ledger import JobWork, refused_live
from deploy.jobs.plan import (
    PartitionLog,
    PlanError,
    Request,
    Revisions,
    Span,
    by_revision,
    is_wanted,
    parse_bound,
    spans_of,
)
from deploy.jobs.progress import JobProgress
from deploy.jobs.shadow import Job
from deploy.jobs.source import Log, open_log
from deploy.runtime.kafka import producer_options, reader_options, stop_in_time
from deploy.runtime.progress_bar import Tell, tell_nobody
from schemas.corrections import CORRECTION_FORMAT
from schemas.formats import require_known, version_of
from schemas.pricing import PriceBook
from schemas.rated import Fold, Kind, RatedBatch, encode_batch
from schemas.topics import RATED_MESSAGE_BYTES_MAX
from sinks.agent import apply
from sinks.batch import RatedRecord, read_record
from sinks.postgres import Connection as AsyncConnection
from sinks.postgres import Remedy, connect, read_offsets, remedy_for
from sinks.price_history import book_at, current_revision
from streams.decode import DecodedRecord, decode_record, decode_records, parts, run_length
from streams.dedupe import judge
from streams.metrics import Metrics
from streams.price import settle
from streams.price_book import QuarantineTable, TopicFollower
from streams.producer import RatedProducer
from streams.seen import SeenPartition, fold_of
from streams.settings import StreamsSettings

EVENTS_PER_TRANSACTION = 10_000
RUN_BYTES = 1 << 20
TRIES_MAX = 60
RETRY_SECONDS = 0.5
_STOP_SECONDS = 5.0

Connection = psycopg.Connection[Any]
# The price book of a price revision; None: no ledger's batch tells one.
Prices = Callable[[int | None], PriceBook]


def prices_of(connection: Connection, job: Job) -> Prices:
    """Return the prices that a request names: as they were known then, or when the job began."""
    kept: dict[int, PriceBook] = {}
    is_as_billed = job.request.prices == "as-billed"

    def at(revision: int | None) -> PriceBook:
        wanted = revision if is_as_billed and revision is not None else job.price_revision
        if wanted not in kept:
            kept[wanted] = book_at(connection, wanted)
        return kept[wanted]

    return at


class Pace:
    """Lets so many events a second pass, over all partitions."""

    def __init__(self, events_per_second: float) -> None:
        self._per_second = events_per_second
        self._began: float | None = None
        self._events = 0

    async def passed(self, events: int) -> None:
        """Wait until these may have passed."""
        now = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = now
        self._events += events
        await asyncio.sleep(max(0.0, self._began + self._events / self._per_second - now))


@dataclass(frozen=True)
class Tools:
    """What rating works with."""

    settings: StreamsSettings
    reader: Log
    producer: RatedProducer
    quarantine: QuarantineTable
    prices: Prices
    pace: Pace


async def begin(
    settings: StreamsSettings, connection: Connection, name: str, asked: Request
) -> Job:
    """Return the job of that name: one that was begun goes on, else it is planned and made.

    Raises PlanError when it was begun otherwise, or cannot be done.
    """
    found = shadow.find(connection, name)
    if found is not None:
        if asked not in (Request(), found.request):
            raise PlanError(
                f"{name} was begun with {found.request}: go on without options, take another name, "
                f"or remove it (burnstream replay {name} --drop)"
            )
        return found
    topic = asked.source or settings.topics.raw
    start, end = parse_bound(asked.start, is_end=False), parse_bound(asked.end, is_end=True)
    reader = open_log(settings, asked)
    try:
        logs = await _logs(settings, reader, connection, topic, asked, (start.ms, end.ms))
        spans = spans_of(logs, start, end)
        if not spans:
            raise PlanError(f"{topic} holds nothing of that, as far as the ledger has come")
        await shadow.make_topic(settings, name, 1 + max(log.partition for log in logs))
        # One that a run made which was killed before it put its plan down is empty.
        rated_topic = shadow.rated_topic_of(settings, name)
        for log in logs:
            if (await reader.bounds(rated_topic, log.partition))[1]:
                raise PlanError(
                    f"{rated_topic} was left by an earlier job: burnstream replay {name} --drop"
                )
    finally:
        await reader.stop()
    revision = current_revision(connection)
    return shadow.create(settings, connection, name, asked, topic, spans, revision)


async def _logs(  # noqa: PLR0917 -- what is asked, and of whom
    settings: StreamsSettings,
    reader: Log,
    connection: Connection,
    topic: str,
    asked: Request,
    times: tuple[int | None, int | None],
) -> list[PartitionLog]:
    rows = connection.execute(
        """
        SELECT partition, epoch, next_offset, coalesce((
            SELECT max(next_offset) FROM "RatedBatch" AS opened
            WHERE opened.topic = held.topic AND opened.partition = held.partition
                AND opened.epoch = held.epoch - 1 AND kind = 'new-epoch'), 0)
        FROM "SinkOffset" AS held WHERE topic = %s ORDER BY partition
        """,
        [topic],
    ).fetchall()
    if asked.source is not None:
        number = await shadow.partitions_of(settings, topic)
        rows = [(partition, 0, None, 0) for partition in range(number)]
    logs = []
    for partition, epoch, applied, epoch_begin in rows:
        begin, following = await reader.bounds(topic, partition)
        start, end = [
            None if ms is None else await reader.offset_at(topic, partition, ms) for ms in times
        ]
        if applied is not None:
            following = min(following, applied)
        logs.append(PartitionLog(partition, epoch, max(begin, epoch_begin), following, start, end))
    return logs


async def run(
    settings: StreamsSettings,
    connection: Connection,
    job: Job,
    prices: Prices | None = None,
    *,
    events_per_second: float,
    partitions: Collection[int] = (),
    tell: Tell = tell_nobody,
) -> bool:
    """Rate and apply what is left of a job; return whether all of it is there now.

    `prices`: other ones than the request names. `partitions`: only these, the rest being others'.
    `tell` hears offsets done, rated and applied each counted once, of all. Raises what Kafka and
    Postgres raise; then run it again. Raises PlanError when a partition is worked on elsewhere.
    """
    if job.is_finished:
        return True
    spans = [span for span in job.spans if not partitions or span.partition in partitions]
    with ExitStack() as held:
        for span in spans:
            held.enter_context(
                shadow.only_run(connection, f"{job.name} partition {span.partition}")
            )
        async with _tools(
            settings, job, prices or prices_of(connection, job), events_per_second
        ) as tools:
            with JobProgress(connection, job, spans, tell) as progress:
                known = [revisions(connection, job, span) for span in spans]
                await rate_spans(tools, job, spans, known, progress)
                await apply_spans(tools, job, spans, progress)
    return shadow.finish(connection, job)


@asynccontextmanager
async def _tools(
    settings: StreamsSettings, job: Job, prices: Prices, events_per_second: float
) -> AsyncIterator[Tools]:
    options = reader_options(settings, "job")
    quarantine = QuarantineTable()
    if job.is_of_raw:
        follower = TopicFollower(settings.topics.quarantine, options, quarantine.apply)
        await follower.read_whole()
        await follower.stop()
    kafka = AIOKafkaProducer(
        **producer_options(settings, "job"), max_request_size=RATED_MESSAGE_BYTES_MAX
    )
    reader = open_log(settings, job.request)
    try:
        await kafka.start()
        topic = shadow.rated_topic_of(settings, job.name)
        producer = RatedProducer(
            kafka, topic, Metrics(CollectorRegistry()), settings.send_timeout_seconds
        )
        yield Tools(settings, reader, producer, quarantine, prices, Pace(events_per_second))
    finally:
        await stop_in_time(kafka, _STOP_SECONDS)
        await reader.stop()


def revisions(connection: Connection, job: Job, span: Span) -> Revisions:
    """Return by which price revisions the live ledger's batches of a span were rated."""
    rows = connection.execute(
        sql.SQL(
            'SELECT first_offset, price_revision FROM {}."RatedBatch" WHERE topic = %s'
            " AND partition = %s AND epoch = %s AND kind = 'rated' AND price_revision IS NOT NULL"
            " AND first_offset < %s ORDER BY first_offset"
        ).format(sql.Identifier(job.live_schema)),
        [job.topic, span.partition, span.epoch, span.end],
    ).fetchall()
    return Revisions([row[0] for row in rows], [row[1] for row in rows])


async def rate_spans(
    tools: Tools,
    job: Job,
    spans: Sequence[Span],
    known: Sequence[Revisions],
    progress: JobProgress,
) -> None:
    """Rate the partitions side by side: while one waits for Kafka's word another is at work."""

    async def rate(span: Span, of_span: Revisions) -> None:
        reader = open_log(tools.settings, job.request)
        try:
            await rate_span(replace(tools, reader=reader), job, span, of_span, progress)
        finally:
            await reader.stop()

    tasks = [asyncio.create_task(rate(*one)) for one in zip(spans, known, strict=True)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def rate_span(
    tools: Tools,
    job: Job,
    span: Span,
    known: Revisions,
    progress: JobProgress,
) -> None:
    """Write the rated batches of a partition that the job's topic has not yet."""
    seen = await _seen_before(tools, job, span, known)
    rated_topic = shadow.rated_topic_of(tools.settings, job.name)
    begin, end = await tools.reader.bounds(rated_topic, span.partition)
    async for records in tools.reader.stretch(rated_topic, span.partition, begin, end):
        for record in records:
            seen.apply(fold_of(record.headers), record.offset)
    position = seen.fold.next_offset
    progress.rated(span.partition, position, by_an_earlier_run=True)
    async for records in _runs(tools, job, span.partition, (position, span.end)):
        for batch, fold in _rated(tools, span.partition, records, known, seen):
            await _send(tools, job, batch, fold, seen, position)
            position = seen.fold.next_offset
            progress.rated(span.partition, position)
            await tools.pace.passed(len(batch.events))
    if position < span.end:  # transaction markers, or nothing at all
        empty = RatedBatch(span.partition, position, span.end, job.price_revision, [], [])
        await _send(tools, job, empty, _fold([], empty), seen, position)
        progress.rated(span.partition, span.end)


async def _runs(
    tools: Tools, job: Job, partition: int, offsets: tuple[int, int]
) -> AsyncIterator[list[Any]]:
    """Yield records of [first, end) of a job's source, about as many as make a rated batch."""
    run: list[Any] = []
    size = 0
    async for records in tools.reader.stretch(job.topic, partition, *offsets):
        run += records
        size += sum(len(record.value or b"") for record in records)
        if size >= RUN_BYTES:
            yield run
            run, size = [], 0
    if run:
        yield run


async def _seen_before(tools: Tools, job: Job, span: Span, known: Revisions) -> SeenPartition:
    """Remember what was charged in the window before a span; nothing of it is written."""
    seen = SeenPartition(tools.settings.window_ms)
    begin, _ = await tools.reader.bounds(job.topic, span.partition)
    first = await tools.reader.first_at(job.topic, span.partition, span.first, _STOP_SECONDS)
    warm_from = span.first
    if first is not None and begin < span.first:
        found = await tools.reader.offset_at(
            job.topic, span.partition, first.timestamp - tools.settings.window_ms
        )
        warm_from = span.first if found is None else min(found, span.first)
    seen.fold.start_at(warm_from)
    async for records in _runs(tools, job, span.partition, (warm_from, span.first)):
        for batch, fold in _rated(tools, span.partition, records, known, seen):
            at = seen.fold.next_offset
            seen.apply(replace(fold, first_offset=at), seen.rated_offset)
            await tools.pace.passed(len(batch.events))
    seen.fold.start_at(span.first)
    seen.rated_offset = 0
    return seen


def _rated(
    tools: Tools,
    partition: int,
    records: Sequence[Any],
    known: Revisions,
    seen: SeenPartition,
) -> Iterator[tuple[RatedBatch, Fold]]:
    """Yield what the streams' steps make of records; `seen` must have taken one before the next."""
    settings = tools.settings
    for revision, run_of_one in by_revision(records, known):
        book = tools.prices(revision)
        decoded = _decode(tools, partition, run_of_one)
        for part in parts(decoded, settings.batch_events_max, settings.batch_bytes_max):
            verdicts = settle(part, judge(part, seen), book, settings.window_ms)
            batch = RatedBatch(
                partition,
                part[0].offset,
                part[-1].offset + 1,
                book.revision,
                run_length(part),
                verdicts.entries,
            )
            fold = _fold(part, batch)
            fold.positions.extend(verdicts.positions)
            yield batch, replace(fold, identities=b"".join(verdicts.identities))


def _decode(tools: Tools, partition: int, records: Sequence[Any]) -> list[DecodedRecord]:
    policy = tools.settings.timestamp_policy
    for record in records:
        if tools.quarantine.reason(partition, record.offset) is None:
            what = f"offset {record.offset} of partition {partition}"
            require_known(what, version_of(record.headers), CORRECTION_FORMAT)
    if not len(tools.quarantine):
        return decode_records(records, policy)
    return [
        decode_record(
            record, record.timestamp, policy, tools.quarantine.reason(partition, record.offset)
        )
        for record in records
    ]


def _fold(part: Sequence[DecodedRecord], batch: RatedBatch) -> Fold:
    return Fold(
        Kind.RATED,
        batch.first_offset,
        batch.next_offset,
        run_length(part),
        array("q"),
        b"",
    )


async def _send(  # noqa: PLR0917 -- a batch, and where it goes
    tools: Tools, job: Job, batch: RatedBatch, fold: Fold, seen: SeenPartition, position: int
) -> None:
    """Write a batch that begins where the last one ended, wanted verdicts alone, and remember."""
    wanted = [entry for entry in batch.events if is_wanted(entry, job.request)]
    batch = replace(batch, first_offset=position, events=wanted)
    fold = replace(fold, first_offset=position)
    sent = await tools.producer.send(encode_batch(batch), batch, fold)
    seen.apply(fold, await tools.producer.acknowledged(sent))


async def apply_spans(tools: Tools, job: Job, spans: Sequence[Span], progress: JobProgress) -> None:
    """Apply the job's rated batches to its schema, partition after partition."""
    conninfo = shadow.conninfo_of(tools.settings, job.schema)
    async with await connect(conninfo, shadow.APPLICATION_NAME) as connection:
        numbers = [span.partition for span in spans]
        reached = await read_offsets(connection, job.topic, numbers)
        for span in spans:
            refused = await refused_live(connection, job, span)
            position = reached[span.partition].next_offset
            progress.applied(span.partition, position, by_an_earlier_run=True)
            async for records in _gathered(tools, job, reached[span.partition]):
                for charge in (one for record in records for one in record.charges):
                    charge.refusal = refused.get((charge.offset, charge.index), charge.refusal)
                position = await _apply(connection, job, span, records)
                progress.applied(span.partition, position)
                await tools.pace.passed(sum(record.events for record in records))
            if position < span.end:
                raise PlanError(
                    f"{shadow.rated_topic_of(tools.settings, job.name)} holds partition "
                    f"{span.partition} up to {position}, not {span.end}: remove the job and begin "
                    "anew"
                )


async def _apply(
    connection: AsyncConnection, job: Job, span: Span, records: list[RatedRecord]
) -> int:
    """Apply records in one transaction and return the position reached.

    Again after a deadlock with another process of the job, and while the session of a killed one
    still holds the partition's row; as often as that may take.
    """
    for _ in range(TRIES_MAX):
        work = JobWork(
            connection, job.topic, {span.partition: records}, expects_conflicts=True, job=job
        )
        try:
            await apply(work)
        except psycopg.Error as error:
            if remedy_for(error) is not Remedy.AGAIN:
                raise
            await connection.execute(b"ROLLBACK")
        else:
            if work.clipped:
                return work.clipped[0].reached.next_offset
        await asyncio.sleep(RETRY_SECONDS)
    raise PlanError(f"partition {span.partition} of {job.name} is held by another session")


async def _gathered(tools: Tools, job: Job, reached: Any) -> AsyncIterator[list[RatedRecord]]:
    """Yield rated records, as many at once as one transaction takes."""
    topic = shadow.rated_topic_of(tools.settings, job.name)
    _, end = await tools.reader.bounds(topic, reached.partition)
    waiting: list[RatedRecord] = []
    stretch = tools.reader.stretch(topic, reached.partition, reached.rated_offset, end)
    async for records in stretch:
        for record in records:
            waiting.append(read_record(record.offset, record.value))
            if sum(one.events for one in waiting) >= EVENTS_PER_TRANSACTION:
                yield waiting
                waiting = []
    if waiting:
        yield waiting

"""A backfill: what a replay charged and the live ledger lacks goes to `usage.raw`, to be charged.

The live streams and sinks charge it, by their usual rules: an event that is charged meanwhile, or
whose record is written twice, is refused by rule 5's unique keys. A row of JobCharge is put down
before an event is written, and where Kafka put it after; killed in between, the records that were
written are found again by their `job` header, for `job_charges` is to name the one that charged.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson
import psycopg
from aiokafka import AIOKafkaProducer
from psycopg import sql
from psycopg.rows import class_row

from deploy.jobs.replay import Pace
from deploy.jobs.shadow import Job
from deploy.jobs.source import Log, open_log
from deploy.jobs.statements import statement
from deploy.runtime.kafka import producer_options, require_topics, stop_in_time
from deploy.runtime.progress_bar import Tell, tell_nobody
from schemas.dead_letter import FORMAT_HEADER, Position, replay_headers
from schemas.events import UsageEvent, check_timestamp
from schemas.topics import RAW_MESSAGE_BYTES_MAX, partition_for_key
from streams.decode import DecodedRecord, decode_record
from streams.settings import StreamsSettings

JOB_HEADER = "job"
CHUNK_EVENTS = 500
# Its event alone would be charged and nothing undone.
CORRECTION = "a correction: replay its letter, or send it again"
ACKNOWLEDGEMENT_SECONDS = 60.0
_STOP_SECONDS = 5.0

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Missing:
    """An event that the live ledger lacks: where the job found it, and what it cost there."""

    customer_id: str
    event_id: str
    partition: int
    epoch: int
    offset: int
    index: int
    credits: int


@dataclass(slots=True)
class Outcome:
    """What a job has charged so far: events and credits of the live ledger, by its own records.

    `written`: put into `usage.raw` by this run; `refused`: events too old, or too far ahead, for
    the pipeline, with the reason; `unsettled`: written, and not in the ledger yet.
    """

    missing: int = 0
    credits: int = 0
    written: int = 0
    charged: int = 0
    charged_credits: int = 0
    charged_otherwise: int = 0
    unsettled: int = 0
    refused: dict[str, str] | None = None


def missing(connection: Connection, job: Job) -> list[Missing]:
    """Return what a finished job charged and the live ledger has under no identity."""
    query = statement(
        "missing", shadow=sql.Identifier(job.schema), live=sql.Identifier(job.live_schema)
    )
    with connection.cursor(row_factory=class_row(Missing)) as cursor:
        return cursor.execute(query).fetchall()


def outcome(connection: Connection, job: Job) -> Outcome:
    """Return how it stands: what is missing, and what the job's records charged."""
    found = missing(connection, job)
    row = connection.execute(statement("outcome"), [job.name]).fetchone()
    charged, charged_credits, otherwise, unsettled = row or (0, 0, 0, 0)
    return Outcome(
        missing=len(found),
        credits=sum(one.credits for one in found),
        charged=charged,
        charged_credits=int(charged_credits),
        charged_otherwise=otherwise,
        unsettled=unsettled,
    )


async def write(
    settings: StreamsSettings,
    connection: Connection,
    job: Job,
    *,
    events_per_second: float,
    tell: Tell = tell_nobody,
) -> tuple[int, dict[str, str]]:
    """Write what is missing and was not written before; return how many, and who was refused."""
    reader = open_log(settings, job.request)
    producer = AIOKafkaProducer(
        **producer_options(settings, "job", linger_milliseconds=5),
        max_request_size=2 * RAW_MESSAGE_BYTES_MAX,
    )
    refused: dict[str, str] = {}
    written = 0
    try:
        await producer.start()
        await require_topics(producer, settings.topics.raw)
        await _find_again(connection, job, producer, reader, settings.topics.raw)
        done = {
            (row[0], row[1])
            for row in connection.execute(
                'SELECT customer_id, event_id::text FROM "JobCharge"'
                " WHERE job = %s AND raw_offset IS NOT NULL",
                [job.name],
            )
        }
        todo = [
            one for one in missing(connection, job) if (one.customer_id, one.event_id) not in done
        ]
        pace = Pace(events_per_second)
        tell(0, len(todo))
        for number, chunk in _chunks(todo):
            fit = []
            for one, record in await _read(settings, job, reader, chunk):
                if record.void is not None:
                    refused[one.event_id] = CORRECTION
                    continue
                event = cast("UsageEvent", record.events[one.index])
                now_ms = time.time_ns() // 1_000_000
                wrong = check_timestamp(event, now_ms, settings.timestamp_policy)
                if wrong is None:
                    fit.append((one, event))
                else:
                    refused[one.event_id] = wrong.message
            await _write_chunk(settings, connection, job, producer, fit)
            written += len(fit)
            tell(number, len(todo))
            await pace.passed(len(fit))
    finally:
        await stop_in_time(producer, _STOP_SECONDS)
        await reader.stop()
    return written, refused


def _chunks(todo: Sequence[Missing]) -> Iterator[tuple[int, list[Missing]]]:
    """Yield events of one partition each, and how many there are up to then."""
    chunk: list[Missing] = []
    for number, one in enumerate(todo):
        if chunk and (chunk[0].partition != one.partition or len(chunk) == CHUNK_EVENTS):
            yield number, chunk
            chunk = []
        chunk.append(one)
    if chunk:
        yield len(todo), chunk


async def _read(
    settings: StreamsSettings, job: Job, reader: Log, chunk: Sequence[Missing]
) -> list[tuple[Missing, DecodedRecord]]:
    """Read the records of events again, where the job found them."""
    offsets = sorted({one.offset for one in chunk})
    records = await reader.first_of_each(job.topic, chunk[0].partition, offsets, offsets[-1] + 1)
    decoded = {
        record.offset: decode_record(record, record.timestamp, settings.timestamp_policy)
        for record in records
    }
    return [(one, decoded[one.offset]) for one in chunk]


async def _write_chunk(
    settings: StreamsSettings,
    connection: Connection,
    job: Job,
    producer: AIOKafkaProducer,
    events: Sequence[tuple[Missing, UsageEvent]],
) -> None:
    if not events:
        return
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            'INSERT INTO "JobCharge" (job, customer_id, event_id, source_topic, source_partition,'
            " source_offset, source_index) VALUES (%s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            [
                (
                    job.name,
                    one.customer_id,
                    one.event_id,
                    job.topic,
                    one.partition,
                    one.offset,
                    one.index,
                )
                for one, _ in events
            ],
        )
    topic = settings.topics.raw
    partitions = len(await producer.partitions_for(topic))
    async with asyncio.timeout(ACKNOWLEDGEMENT_SECONDS):
        sent = [
            await producer.send(
                topic,
                orjson.dumps(event),
                key=(key := one.customer_id.encode()),
                partition=partition_for_key(key, partitions),
                headers=[*_headers(job, one), (JOB_HEADER, job.name.encode())],
            )
            for one, event in events
        ]
        places = await asyncio.gather(*sent)
    _put_down(
        connection,
        job,
        [
            (place.partition, place.offset, one.customer_id, one.event_id)
            for (one, _), place in zip(events, places, strict=True)
        ],
    )


def _headers(job: Job, one: Missing) -> list[tuple[str, bytes]]:
    """A record of `usage.raw` itself is replayed: `seen` may remember what the ledger lost."""
    if job.is_of_raw:
        return replay_headers(Position(one.partition, one.epoch, one.offset, one.index))
    return [FORMAT_HEADER]


def _put_down(
    connection: Connection, job: Job, places: Sequence[tuple[int, int, str, str]]
) -> None:
    """Note where records stand, of those that were not noted yet."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            'UPDATE "JobCharge" SET raw_partition = %s, raw_offset = %s'
            " WHERE job = %s AND customer_id = %s AND event_id = %s AND raw_offset IS NULL",
            [
                (partition, offset, job.name, customer_id, event_id)
                for partition, offset, customer_id, event_id in places
            ],
        )


async def _find_again(
    connection: Connection, job: Job, producer: AIOKafkaProducer, reader: Log, topic: str
) -> None:
    """Note the records that a killed run wrote: those behind where the log ended at its begin."""
    ends = await reader.ends(topic, sorted(await producer.partitions_for(topic)))
    with connection.transaction():
        for partition, end in ends.items():
            connection.execute(
                'INSERT INTO "JobBackfill" (job, partition, raw_offset) VALUES (%s, %s, %s)'
                " ON CONFLICT DO NOTHING",
                [job.name, partition, end],
            )
    unknown = connection.execute(
        'SELECT count(*) FROM "JobCharge" WHERE job = %s AND raw_offset IS NULL', [job.name]
    ).fetchone()
    if not unknown or not unknown[0]:
        return
    begun = connection.execute(
        'SELECT partition, raw_offset FROM "JobBackfill" WHERE job = %s', [job.name]
    ).fetchall()
    for partition, begin in begun:
        async for records in reader.stretch(topic, partition, begin, ends[partition]):
            places = []
            for record in records:
                if (JOB_HEADER, job.name.encode()) in record.headers:
                    event = orjson.loads(record.value)
                    places.append(
                        (partition, record.offset, event["customer_id"], event["event_id"])
                    )
            if places:
                _put_down(connection, job, places)

"""The way of a file's rows: checked, written to `usage.raw` at a bounded rate, put down as done.

Killed at any moment, the next run goes on behind the last rows put down. Rows in between may be
written twice, with the same identities: the pipeline charges them once.
"""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from aiokafka import AIOKafkaProducer

from deploy.runtime.kafka import producer_options, require_topics, stop_in_time
from gateway.file_import import progress_file
from gateway.file_import.check import Rejected, check
from gateway.file_import.progress_file import Progress
from gateway.file_import.rows import Row, Rows
from gateway.ingest import to_records
from gateway.settings import GatewaySettings
from schemas.dead_letter import FORMAT_HEADER
from schemas.events import UsageEvent
from schemas.topics import partition_for_key

CHUNK_ROWS = 1_000
ACKNOWLEDGEMENT_SECONDS = 60.0
_STOP_SECONDS = 5.0

Tell = Callable[[float], None]  # of the share of the file that is read


@dataclass(frozen=True)
class Job:
    """What is imported, and how."""

    rows: Rows
    source: str  # the name under which rows without an id are known
    kept: Path  # the progress file
    rejects: Path
    events_per_second: float


async def load(settings: GatewaySettings, job: Job, progress: Progress, tell: Tell) -> None:
    """Write all rows that are not done yet. Raises what aiokafka raises, and TimeoutError."""
    producer = AIOKafkaProducer(**producer_options(settings, "import", linger_milliseconds=5))
    async with asyncio.timeout(ACKNOWLEDGEMENT_SECONDS):
        await producer.start()
    try:
        await require_topics(producer, settings.topics.raw)
        began, sent = time.monotonic(), 0
        for rows in _chunks(job.rows, progress.rows):
            checked = [
                check(row, job.source, time.time_ns() // 1_000_000, settings.timestamp_policy)
                for row in rows
                if row.event
            ]
            events = [one for one in checked if not isinstance(one, Rejected)]
            async with asyncio.timeout(ACKNOWLEDGEMENT_SECONDS):
                await _write(producer, settings.topics.raw, events)
            _put_down(job, progress, rows, checked)
            tell(job.rows.share_read)
            sent += len(events)
            await asyncio.sleep(began + sent / job.events_per_second - time.monotonic())
    finally:
        await stop_in_time(producer, _STOP_SECONDS)


def _chunks(rows: Rows, done: int) -> Iterator[list[Row]]:
    waiting = islice(rows, done, None)
    while chunk := list(islice(waiting, CHUNK_ROWS)):
        yield chunk


async def _write(producer: AIOKafkaProducer, topic: str, events: list[UsageEvent]) -> None:
    """Write events by customer, in their order, and return when Kafka has all."""
    by_customer: dict[str, list[UsageEvent]] = defaultdict(list)
    for event in events:
        by_customer[event["customer_id"]].append(event)
    partitions = await producer.partitions_for(topic)
    waiting = []
    for customer_id, own in by_customer.items():
        key = customer_id.encode()
        partition = partition_for_key(key, len(partitions))
        waiting += [
            await producer.send(topic, value, key=key, partition=partition, headers=[FORMAT_HEADER])
            for value in to_records(own)
        ]
    await asyncio.gather(*waiting)


def _put_down(
    job: Job, progress: Progress, rows: list[Row], checked: list[UsageEvent | Rejected]
) -> None:
    rejected = [one for one in checked if isinstance(one, Rejected)]
    if rejected:
        with job.rejects.open("r+b" if job.rejects.exists() else "wb") as file:
            file.truncate(progress.rejects_bytes)  # what a killed run had not put down
            file.seek(progress.rejects_bytes)
            file.write(b"".join(one.as_json() for one in rejected))
            file.flush()
            os.fsync(file.fileno())
            progress.rejects_bytes = file.tell()
    progress.rows = rows[-1].number
    progress.rejected += len(rejected)
    progress.accepted += len(checked) - len(rejected)
    progress_file.save(job.kept, progress)

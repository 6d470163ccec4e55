"""The stream stage beside its baselines: `python -m tests.benchmarks.stream_stage`.

Every contender reads the same records from the same broker, one after the other, one worker each,
and does the whole work on them. Counted is what stands in the output topic, by the broker's clock,
from the moment a fifth of the events is rated (the warm-up) to the last one. CPU is the worker's
own, in microseconds per event of that stretch.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError

from deploy.local.servers import LocalServers
from schemas.rated import FOLD_HEADER, unpack_fold
from sinks.migrations import migrate
from tests.benchmarks.contenders import (
    Burnstream,
    CannotCompete,
    Contender,
    Course,
    KafkaStreams,
)
from tests.system import System
from tests.waiting import wait_until, wait_until_async

PARTITIONS = 4
CUSTOMERS = 200
WARM_UP_SHARE = 0.2
TIMEOUT_SECONDS = 900.0
SAMPLE_INTERVAL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Finish:
    """How one contender did on one course."""

    events_per_second: float
    cpu_microseconds_per_event: float


def records(count: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, value) of raw records of `size` events each, all of them new."""
    customers = itertools.cycle(f"customer-{number}" for number in range(CUSTOMERS))
    for number, customer in zip(range(count // size), customers, strict=False):
        events = [
            {
                "event_id": str(uuid.uuid4()),
                "customer_id": customer,
                "event_type": "TOKEN_USAGE",
                "feature_id": "ai-text-generation",
                "provider": "OPENAI",
                "model": "gpt-4-turbo",
                "input_tokens": 1_000 + number % 1_000,
                "output_tokens": 500,
                "timestamp": "2025-01-17T14:30:00Z",
                "idempotency_key": uuid.uuid4().hex,
            }
            for _ in range(size)
        ]
        body = events[0] if size == 1 else {"events": events}
        yield customer.encode(), orjson.dumps(body)


async def load(course: Course, outputs: list[str], count: int, size: int) -> None:
    """Write the raw records, and make the topics to write to."""
    admin = AIOKafkaAdminClient(bootstrap_servers=course.bootstrap)
    await admin.start()
    config = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(8 << 20)}
    topics = [NewTopic(name, PARTITIONS, 1, topic_configs=config) for name in outputs]
    await admin.create_topics(topics)
    await admin.close()
    producer = AIOKafkaProducer(
        bootstrap_servers=course.bootstrap, linger_ms=20, max_batch_size=256 << 10
    )
    async with producer:
        sent = [
            await producer.send(course.topics.raw, value, key=key)
            for key, value in records(count, size)
        ]
        await asyncio.gather(*sent)


async def is_done(course: Course, group: str) -> bool:
    """Tell whether a group has committed the whole of the raw topic."""
    partitions = [TopicPartition(course.topics.raw, number) for number in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(bootstrap_servers=course.bootstrap)
    admin = AIOKafkaAdminClient(bootstrap_servers=course.bootstrap)
    try:
        await consumer.start()
        await admin.start()
        ends = await consumer.end_offsets(partitions)
        committed = await admin.list_consumer_group_offsets(group)
    except GroupCoordinatorNotAvailableError:
        return False  # the group is just coming to be
    finally:
        await consumer.stop()
        await admin.close()
    return all(
        (offset := committed.get(partition)) is not None and offset.offset >= ends[partition]
        for partition in partitions
    )


async def rated_over_time(course: Course, output: str, size: int) -> list[tuple[float, int]]:
    """Return (seconds by the broker's clock, events) of each record of an output topic, by time."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=course.bootstrap,
        isolation_level="read_committed",
        max_partition_fetch_bytes=8 << 20,
    )
    found = []
    async with consumer:
        partitions = [TopicPartition(output, number) for number in range(PARTITIONS)]
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        while any([await consumer.position(one) < ends[one] for one in partitions]):
            for fetched in (await consumer.getmany(timeout_ms=200)).values():
                found += [(one.timestamp / 1_000, _events_of(one, size)) for one in fetched]
    return sorted(found)


def _events_of(record: object, size: int) -> int:
    headers = dict(record.headers)  # type: ignore[attr-defined]
    if FOLD_HEADER not in headers:
        return size
    fold = unpack_fold(headers[FOLD_HEADER])
    return (fold.next_offset - fold.first_offset) * size


def watch(worker: subprocess.Popen[bytes], course: Course, group: str) -> list[tuple[float, float]]:
    """Sample (clock, CPU seconds) of a worker until everything is rated and committed."""
    process = psutil.Process(worker.pid)
    samples: list[tuple[float, float]] = []
    looked_at = 0.0

    def has_finished() -> bool:
        nonlocal looked_at
        if worker.poll() is not None:
            raise RuntimeError(f"the worker ended with {worker.returncode}: see {course.folder}")
        samples.append((time.time(), sum(process.cpu_times()[:2])))
        if time.monotonic() - looked_at < 1.0:  # looking costs, and both share the machine
            time.sleep(SAMPLE_INTERVAL_SECONDS)
            return False
        looked_at = time.monotonic()
        return asyncio.run(is_done(course, group))

    wait_until(has_finished, TIMEOUT_SECONDS, "everything is rated")
    return samples


def run(contender: Contender, course: Course, count: int, size: int) -> Finish:
    """Let one contender rate a course, and measure it. Raises CannotCompete."""
    worker = contender.start(course)
    try:
        samples = watch(worker, course, contender.group(course))
    finally:
        worker.terminate()
        worker.wait(60)
    rated = asyncio.run(rated_over_time(course, contender.output(course), size))
    total = sum(events for _, events in rated)
    if total != count:
        raise AssertionError(f"{contender.name} rated {total} events of {count}")
    reached = list(itertools.accumulate(events for _, events in rated))
    at = next(number for number, events in enumerate(reached) if events >= count * WARM_UP_SHARE)
    begun, ended = rated[at][0], rated[-1][0]
    counted = count - reached[at]
    cpu = _cpu_at(samples, ended) - _cpu_at(samples, begun)
    return Finish(counted / (ended - begun), cpu / counted * 1e6)


def _cpu_at(samples: list[tuple[float, float]], moment: float) -> float:
    """Return the CPU seconds at a moment, between two samples."""
    for (before, low), (after, high) in itertools.pairwise(samples):
        if before <= moment <= after:
            return low + (high - low) * (moment - before) / (after - before)
    return samples[-1][1]


def publish_prices(system: System, course: Course) -> None:
    """Let a sinks worker publish the price list once; it takes no part in the race."""

    async def is_published() -> bool:
        partition = TopicPartition(course.topics.prices, 0)
        async with AIOKafkaConsumer(bootstrap_servers=course.bootstrap) as consumer:
            ends = await consumer.end_offsets([partition])
        return bool(ends[partition] > 0)

    system.start(gateways=0, streams=0, sinks=1)
    asyncio.run(wait_until_async(is_published, 60, "prices are published"))
    system.stop()


def race(
    servers: LocalServers, folder: Path, contenders: list[Contender], count: int, size: int
) -> dict[str, Finish]:
    """Prepare a course, and let each contender run it."""
    course = Course(servers.kafka_bootstrap, f"race-{uuid.uuid4().hex[:8]}-", folder)
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": servers.kafka_bootstrap,
        "DATABASE_URL": servers.database_url,
        "TOPIC_PREFIX": course.prefix,
    }
    system = System(folder / "system", environment)
    system.burnstream("topics", "--partitions", str(PARTITIONS))
    publish_prices(system, course)
    outputs = [one.output(course) for one in contenders if not isinstance(one, Burnstream)]
    asyncio.run(load(course, outputs, count, size))
    finished = {}
    for contender in contenders:
        try:
            finished[contender.name] = run(contender, course, count, size)
        except CannotCompete as reason:
            print(f"{contender.name} is left out: {reason}")
            continue
        print(f"  {contender.name}: {finished[contender.name]}", flush=True)
    return finished


def main() -> None:
    """Run the races and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 50])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    contenders: list[Contender] = [Burnstream(), KafkaStreams()]
    results = []
    with tempfile.TemporaryDirectory(prefix="burnstream-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with LocalServers(folder, kafka_port=0, postgres_port=0, redis_port=0) as servers:
            migrate(servers.database_url)
            system = System(folder / "seed", {"DATABASE_URL": servers.database_url})
            system.burnstream("seed")
            for size in arguments.sizes:
                print(f"records of {size}: {arguments.runs} runs of {arguments.events} events")
                runs = [
                    race(
                        servers,
                        folder / f"size-{size}-run-{number}",
                        contenders,
                        arguments.events,
                        size,
                    )
                    for number in range(arguments.runs)
                ]
                results += summary(size, runs)
    if arguments.json:
        print(json.dumps(results))
    else:
        print(table(results))


def summary(size: int, runs: list[dict[str, Finish]]) -> list[dict[str, float | str]]:
    """Return medians by contender, and how much faster ours is."""
    medians = {
        name: (
            statistics.median(run[name].events_per_second for run in runs),
            statistics.median(run[name].cpu_microseconds_per_event for run in runs),
        )
        for name in runs[0]
    }
    ours = medians[Burnstream.name][0]
    return [
        {
            "contender": name,
            "events_per_record": size,
            "events_per_second": round(rate),
            "cpu_microseconds_per_event": round(cpu, 1),
            "ours_is_faster_by": round(ours / rate, 2),
        }
        for name, (rate, cpu) in medians.items()
    ]


def table(results: list[dict[str, float | str]]) -> str:
    """Return the results as a table in text."""
    lines = [f"{'contender':16} {'events/record':>13} {'events/s':>10} {'CPU us/event':>12} ratio"]
    lines += [
        f"{row['contender']:16} {row['events_per_record']:>13} {row['events_per_second']:>10}"
        f" {row['cpu_microseconds_per_event']:>12} {row['ours_is_faster_by']}"
        for row in results
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""`bench recovery`: a new streams worker where millions of identities are remembered.

Measured is from the start of its process until it has rated a new record in every partition, and
what its memory is above that of a worker which remembers nothing, by identity.
"""

import asyncio

from deploy.bench import kafka_log, stream
from deploy.bench.arena import Arena, Course
from deploy.bench.cpu import cpu_seconds, rss_bytes
from deploy.bench.figures import Figure
from deploy.bench.workload import PARTITIONS, Making, RawRecord, Workload

EVENTS_PER_RECORD = 50
IDENTITIES_PER_EVENT = 2
LOOK_INTERVAL_SECONDS = 0.2


def measure(arena: Arena, identities: int, runs: int, customers: int) -> list[list[Figure]]:
    """Return the figures of so many recoveries of the same identities."""
    arena.progress.say(f"recovery: {identities:,} identities")
    events = identities // IDENTITIES_PER_EVENT
    workload = Workload(events, EVENTS_PER_RECORD, customers, duplicates_share=0.0)
    with arena.course(workload.customer_ids) as course:
        ours = stream.Burnstream()
        ours.prepare(course, workload)
        _, bytes_before, _ = _recover(course, 0)
        outcome = course.write(workload)
        arena.progress.say("  rate them")
        worker = ours.start(course)
        stream.wait_until_rated(course, ours)
        course.stop_worker(worker)
        remembered = outcome.charged * IDENTITIES_PER_EVENT
        found = []
        for number in range(1, runs + 1):
            seconds, bytes_after, cpu = _recover(course, number)
            arena.progress.say(f"  recovered in {seconds:.1f} s, {bytes_after / 1e6:,.0f} MB")
            found.append(_figures(remembered, seconds, bytes_after - bytes_before, cpu))
    return found


def _recover(course: Course, number: int) -> tuple[float, int, float]:
    """Start a worker; return seconds until it has rated again, its memory, its CPU seconds."""
    rated = kafka_log.partitions_of(course.topics.rated)
    ends_before = asyncio.run(kafka_log.ends(course.bootstrap, rated))
    new = Making(Workload(PARTITIONS, seed=10_000 + number)).records()
    records = [
        RawRecord(partition, record.key, record.value) for partition, record in enumerate(new)
    ]
    asyncio.run(kafka_log.write(course.bootstrap, course.topics.raw, records))
    worker = course.start("streams")

    def has_rated() -> bool:
        ends = asyncio.run(kafka_log.ends(course.bootstrap, rated))
        return all(ends[one] > ends_before[one] for one in rated)

    course.wait_until(has_rated, "the worker rates again", LOOK_INTERVAL_SECONDS)
    memory, cpu = rss_bytes(worker.process), cpu_seconds(worker.process)
    written = asyncio.run(kafka_log.read_from(course.bootstrap, ends_before))
    course.stop_worker(worker)
    return max(one.timestamp for one in written) / 1_000 - worker.started_at, memory, cpu


def _figures(identities: int, seconds: float, more_bytes: int, cpu: float) -> list[Figure]:
    conditions = {"identities": identities}
    return [
        Figure(
            "recovery",
            seconds,
            "s",
            conditions=conditions,
            events=identities,
            cpu={"worker": cpu / identities * 1e6},
        ),
        Figure("memory of an identity", more_bytes / identities, "bytes", conditions=conditions),
    ]

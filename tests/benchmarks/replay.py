"""What a replay costs live work, and how fast it is alone: `python -m tests.benchmarks.replay`.

Stretches of the same workload are charged: one by the live workers alone, one beside a replay at
the usual bound; what was charged by then is charged again by a replay alone, unbounded. EVENTS says
how many each stretch has.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import psycopg

from deploy.bench import kafka_log
from deploy.bench.arena import Arena, Course, Given
from deploy.bench.workload import Workload
from deploy.local.progress import Progress

EVENTS = int(os.environ.get("EVENTS", "200000"))
UNBOUNDED = "100000000"


def _applied(course: Course) -> bool:
    partitions = kafka_log.partitions_of(course.topics.raw)
    ends = asyncio.run(kafka_log.ends(course.bootstrap, partitions))
    with psycopg.connect(course.database_url) as connection:
        query = 'SELECT partition, next_offset FROM "SinkOffset"'
        reached: dict[int, int] = dict(connection.execute(query).fetchall())
    return all(reached[tp.partition] >= end for tp, end in ends.items())


def _charge(course: Course, workload: Workload) -> float:
    """Let live workers charge one more stretch; return events a second."""
    course.write(workload)
    began = time.monotonic()
    workers = [course.start(module) for module in ("sinks", "streams")]
    course.wait_until(lambda: _applied(course), "all is charged")
    seconds = time.monotonic() - began
    for worker in workers:
        course.stop_worker(worker)
    return workload.events / seconds


def _timed(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return EVENTS / (time.monotonic() - began)


def main() -> None:
    """Measure and print a table."""
    workload = Workload(events=EVENTS, events_per_record=50)
    with Arena.open(Given(), Progress()) as arena, arena.course(workload.customer_ids) as course:
        course.publish_prices()
        _charge(course, workload)
        alone = _charge(course, replace(workload, seed=workload.seed + 1))
        replayed = _timed(
            lambda: course.burnstream("replay", "alone", "--events-per-second", UNBOUNDED)
        )
        command = [sys.executable, "-m", "deploy.cli", "replay", "beside"]
        beside_it = course.run("replay", command, course.environment)
        beside = _charge(course, replace(workload, seed=workload.seed + 2))
        beside_it.require_running()
    print("| what | events/s |\n|---|---|")
    print(f"| live workers alone, start included | {alone:,.0f} |")
    print(f"| live workers beside a bounded replay | {beside:,.0f} ({beside / alone:.0%}) |")
    print(f"| a replay alone, rated, applied, compared, start included | {replayed * 2:,.0f} |")


if __name__ == "__main__":
    main()

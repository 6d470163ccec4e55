"""`bench e2e`: one of each process, from an HTTP request to the committed ledger.

First as fast as it goes: from the first request after the warm-up until the ledger has reached the
last event. Then at a quarter of that rate: from the 202 of a request until what the ledger has
reached covers its events, looked at every few milliseconds.
"""

import asyncio
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import psycopg

from deploy.bench import kafka_log
from deploy.bench.arena import Arena, Course, MeasurementError
from deploy.bench.cpu import CpuSampler
from deploy.bench.figures import Figure, percentile
from deploy.bench.gateway import CONNECTIONS, wait_until_ready
from deploy.bench.http_load import Answer, post_all, post_at_rate, requests_of
from deploy.bench.sink import credits_spent, wait_until_charged
from deploy.bench.workload import Making, Outcome, RawRecord, Workload

WARM_UP_SHARE = 0.2
LOAD_SHARE = 0.25
LOOK_INTERVAL_SECONDS = 0.005
STEADY_WARM_UP_SHARE = 0.2


def measure(arena: Arena, workload: Workload, steady_seconds: float) -> list[Figure]:
    """Measure the rate, then the latency at a quarter of it for so many seconds."""
    arena.progress.say(f"e2e: {workload.events:,} events by {workload.events_per_record}")
    with arena.course(workload.customer_ids) as course:
        pids = {name: course.start(name).pid for name in ("sinks", "streams", "gateway")}
        wait_until_ready(course)
        making = Making(workload)
        requests = requests_of(making.records())
        warm = int(len(requests) * WARM_UP_SHARE)
        post_all(course.port, requests[:warm], CONNECTIONS)
        wait_until_charged(course)
        own_before, begun = time.process_time(), time.time()
        with CpuSampler(pids | arena.server_pids()) as sampler:
            post_all(course.port, requests[warm:], CONNECTIONS)
            own = time.process_time() - own_before
            wait_until_charged(course, LOOK_INTERVAL_SECONDS)
            ended = time.time()
        _check(course, making.outcome)
        count = (len(requests) - warm) * workload.events_per_record
        rate = count / (ended - begun)
        cpu = sampler.microseconds_per_event(begun, ended, count) | {"load": own / count * 1e6}
        arena.progress.say(f"  {rate:,.0f} events/s committed")
        lags = _lags_at(course, workload, rate * LOAD_SHARE, steady_seconds)
    conditions = {"events_per_request": workload.events_per_record}
    figures = [
        Figure("e2e", rate, "events/s", conditions=conditions, events=workload.events, cpu=cpu)
    ]
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        value = percentile(lags, share) * 1_000
        arena.progress.say(f"  accepted to ledger {name}: {value:.0f} ms")
        figures.append(Figure(f"accepted to ledger, {name}", value, "ms", conditions=conditions))
    return figures


def _check(course: Course, outcome: Outcome) -> None:
    with psycopg.connect(course.database_url) as connection:
        (charged,) = connection.execute('SELECT count(*) FROM "UsageEvent"').fetchone() or (0,)
    found = (charged, credits_spent(course.database_url))
    if found != (outcome.charged, outcome.credits):
        raise MeasurementError(
            f"the ledger is wrong: charged, credits are {found},"
            f" and must be {(outcome.charged, outcome.credits)}"
        )


def _lags_at(
    course: Course, workload: Workload, events_per_second: float, seconds: float
) -> list[float]:
    """Return, of each request, the seconds from its 202 to the ledger."""
    size = workload.events_per_record
    count = max(10, int(events_per_second * seconds / size))
    steady = replace(workload, events=count * size, seed=workload.seed + 1_000)
    records = list(Making(steady).records())
    watch = LedgerWatch(course)
    answers = post_at_rate(course.port, requests_of(records), events_per_second / size, CONNECTIONS)
    wait_until_charged(course)
    watch.stop()
    lags = watch.lags(records, answers)
    return lags[int(count * STEADY_WARM_UP_SHARE) :]


class LedgerWatch:
    """Notes in the background when the ledger reached which position."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._reached: dict[int, list[tuple[int, float]]] = defaultdict(list)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_for_ever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()

    def lags(self, records: Sequence[RawRecord], answers: Sequence[Answer]) -> list[float]:
        """Return how long after its answer each request's events were in the ledger, seconds."""
        places = self._places()
        found = []
        for record, answer in zip(records, answers, strict=True):
            place = places.get(_first_event_id(record.value))
            if place is None:
                raise MeasurementError("a request's record is not in usage.raw")
            partition, offset = place
            reached = self._reached[partition]
            at = bisect_left(reached, (offset + 1, 0.0))
            found.append(max(0.0, reached[at][1] - answer.answered))
        return found

    def _places(self) -> dict[bytes, tuple[int, int]]:
        """Return where each record stands, by the id of its first event."""
        course = self._course
        return {
            _first_event_id(one.value): (one.partition, one.offset)
            for one in asyncio.run(kafka_log.read_all(course.bootstrap, course.topics.raw))
        }

    def _look_for_ever(self) -> None:
        topic = self._course.topics.raw
        last: dict[int, int] = {}
        with psycopg.connect(self._course.database_url, autocommit=True) as connection:
            while not self._ended.wait(LOOK_INTERVAL_SECONDS):
                rows = connection.execute(
                    'SELECT partition, next_offset FROM "SinkOffset" WHERE topic = %s', [topic]
                ).fetchall()
                now = time.time()
                for partition, next_offset in rows:
                    if last.get(partition) != next_offset:
                        last[partition] = next_offset
                        self._reached[partition].append((next_offset, now))


def _first_event_id(value: bytes) -> bytes:
    """Return the id of a record's first event, whoever wrote its JSON."""
    return value.split(b'"event_id":"', 1)[1][:36]

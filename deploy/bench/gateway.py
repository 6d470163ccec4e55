"""`bench gateway`: one gateway process, from HTTP requests to records acknowledged by Kafka.

Bodies are all different and made before the clock starts. CPU of the load is this process's own.
"""

import asyncio
import time
from dataclasses import replace
from http import HTTPStatus
from urllib.error import URLError
from urllib.request import urlopen

from deploy.bench import kafka_log
from deploy.bench.arena import Arena, Course, MeasurementError
from deploy.bench.cpu import CpuSampler
from deploy.bench.figures import Figure, percentile, rate_after_warm_up
from deploy.bench.http_load import post_all, post_at_rate, requests_of
from deploy.bench.workload import Making, Workload
from deploy.local.ports import LOOPBACK

WARM_UP_SHARE = 0.2
CONNECTIONS = 16
SINGLES_PER_SECOND = 200
SINGLES_WARM_UP_SHARE = 0.2
READY_TIMEOUT_SECONDS = 5.0


def workload_of(events: int, size: int, seed: int) -> Workload:
    """Return batches of events that are all new: each is answered with 202."""
    return Workload(events, size, duplicates_share=0.0, seed=seed)


def measure(arena: Arena, workload: Workload, singles: int) -> list[Figure]:
    """Post batches as fast as they are taken, then so many single events at a steady rate."""
    arena.progress.say(f"gateway: {workload.events:,} events by {workload.events_per_record}")
    batches = Making(workload)
    requests = requests_of(batches.records())
    with arena.course(workload.customer_ids) as course:
        worker = course.start("gateway")
        wait_until_ready(course)
        pids = {"worker": worker.pid} | arena.server_pids()
        own_before = time.process_time()
        with CpuSampler(pids) as sampler:
            answers = post_all(course.port, requests, CONNECTIONS)
        own = time.process_time() - own_before
        require_taken(course, batches.outcome.events)
        latencies = _single_latencies(course, workload, singles)
    size = workload.events_per_record
    arrivals = [(one.answered, size) for one in answers]
    begun, ended, events = rate_after_warm_up(arrivals, WARM_UP_SHARE)
    cpu = sampler.microseconds_per_event(begun, ended, events)
    cpu["load"] = own / workload.events * 1e6
    batch_figure = Figure(
        "gateway",
        events / (ended - begun),
        "events/s",
        conditions={"events_per_request": size},
        events=workload.events,
        cpu=cpu,
    )
    arena.progress.say(f"  {batch_figure.value:,.0f} events/s, {cpu['worker']:.1f} us of CPU each")
    return [batch_figure, *_latency_figures(latencies)]


def wait_until_ready(course: Course) -> None:
    """Wait until `/ready` is 200."""

    def is_ready() -> bool:
        try:
            address = f"http://{LOOPBACK}:{course.port}/ready"
            with urlopen(address, timeout=READY_TIMEOUT_SECONDS) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except (URLError, OSError):
            return False

    course.wait_until(is_ready, "the gateway is ready")


def require_taken(course: Course, events: int) -> None:
    """Make sure that Kafka holds every event. Raises MeasurementError."""
    found = asyncio.run(kafka_log.read_all(course.bootstrap, course.topics.raw))
    taken = sum(one.value.count(b'"event_id"') for one in found)
    if taken != events:
        raise MeasurementError(f"the gateway took {events:,} events, usage.raw holds {taken:,}")


def _single_latencies(course: Course, workload: Workload, count: int) -> list[float]:
    """Return how many seconds each single event waited for its 202, after a warm-up."""
    singles = replace(workload, events=count, events_per_record=1, seed=workload.seed + 1_000)
    requests = requests_of(Making(singles).records())
    answers = post_at_rate(course.port, requests, SINGLES_PER_SECOND, CONNECTIONS)
    return [one.seconds for one in answers[int(count * SINGLES_WARM_UP_SHARE) :]]


def _latency_figures(latencies: list[float]) -> list[Figure]:
    return [
        Figure(
            f"202 of a single event, {name}",
            percentile(latencies, share) * 1_000,
            "ms",
            conditions={"requests_per_second": SINGLES_PER_SECOND},
            events=len(latencies),
        )
        for name, share in (("p50", 0.5), ("p99", 0.99))
    ]

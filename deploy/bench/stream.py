"""`bench stream`: one streams worker, from records of `usage.raw` to rated ones.

Counted is what stands in the output topic, by the broker's clock, from the moment a fifth of the
events is rated (the warm-up) to the last one. CPU is the worker's own over that stretch. What it
wrote is held against what must come of the records.
"""

import asyncio
from typing import Any, NamedTuple, Protocol

import orjson

from deploy.bench import kafka_log
from deploy.bench.arena import Arena, Course, MeasurementError, Worker
from deploy.bench.cpu import CpuSampler
from deploy.bench.figures import OURS, Figure, rate_after_warm_up
from deploy.bench.workload import CUSTOMERS_DEFAULT, Outcome, Workload

WARM_UP_SHARE = 0.2
LOOK_INTERVAL_SECONDS = 0.5


class Tally(NamedTuple):
    """What one record of an output topic holds. `seconds`: the broker's clock."""

    seconds: float
    charged: int
    duplicates: int
    credits: int


class Contender(Protocol):
    """A program that rates raw records."""

    @property
    def name(self) -> str:
        """What tables call it."""

    def prepare(self, course: Course, workload: Workload) -> None:
        """Make what it writes to."""

    def output(self, course: Course) -> str:
        """Return the topic that it writes to."""

    def group(self, course: Course) -> str:
        """Return its consumer group."""

    def start(self, course: Course) -> Worker:
        """Start one worker."""


class Burnstream:
    """Our own stream stage. `price_rows`: how much longer than usual its price list is."""

    name = OURS

    def __init__(self, price_rows: int = 0) -> None:
        self._price_rows = price_rows

    def prepare(self, course: Course, workload: Workload) -> None:
        """Publish the prices; its topics are there."""
        del workload
        course.publish_prices(self._price_rows)

    def output(self, course: Course) -> str:
        """`usage.rated`."""
        return course.topics.rated

    def group(self, course: Course) -> str:
        """The group of the streams workers."""
        return course.topics.streams_group

    def start(self, course: Course) -> Worker:
        """Start `python -m streams`."""
        return course.start("streams")


def measure(
    arena: Arena, workload: Workload, contender: Contender | None = None, price_rows: int = 0
) -> Figure:
    """Let a contender rate the records alone, and measure it. Raises MeasurementError."""
    contender = contender or Burnstream(price_rows)
    arena.progress.say(f"stream: {contender.name}, records of {workload.events_per_record}")
    with arena.course(workload.customer_ids) as course:
        contender.prepare(course, workload)
        outcome = course.write(workload)
        worker = contender.start(course)
        with CpuSampler({"worker": worker.pid}) as sampler:
            wait_until_rated(course, contender)
        course.stop_worker(worker)
        tallies = read_tallies(course, contender.output(course))
    check(contender.name, tallies, outcome)
    arrivals = [(one.seconds, one.charged + one.duplicates) for one in tallies]
    begun, ended, events = rate_after_warm_up(arrivals, WARM_UP_SHARE)
    conditions = {"events_per_record": workload.events_per_record}
    if workload.customers != CUSTOMERS_DEFAULT:
        conditions["customers"] = workload.customers
    if price_rows:
        conditions["price_rows"] = price_rows
    figure = Figure(
        "stream",
        events / (ended - begun),
        "events/s",
        contender.name,
        conditions,
        workload.events,
        sampler.microseconds_per_event(begun, ended, events),
    )
    arena.progress.say(f"  {figure.value:,.0f} events/s, {figure.cpu['worker']:.1f} us of CPU each")
    return figure


def rate_all(course: Course, workload: Workload) -> Outcome:
    """Write the records and let our streams worker rate them, unmeasured."""
    ours = Burnstream()
    ours.prepare(course, workload)
    outcome = course.write(workload)
    course.arena.progress.say("  rate them")
    worker = ours.start(course)
    wait_until_rated(course, ours)
    course.stop_worker(worker)
    return outcome


def wait_until_rated(course: Course, contender: Contender) -> None:
    """Wait until the contender's group has committed the whole of the raw topic."""
    raw, group = course.topics.raw, contender.group(course)
    course.wait_until(
        lambda: asyncio.run(kafka_log.lag(course.bootstrap, raw, group)) <= 0,
        f"{contender.name} rates everything",
        LOOK_INTERVAL_SECONDS,
    )


def read_tallies(course: Course, topic: str) -> list[Tally]:
    """Return what each record of an output holds: JSON with `events`, each with its verdict."""
    return [_tally(one) for one in asyncio.run(kafka_log.read_all(course.bootstrap, topic))]


def _tally(record: Any) -> Tally:
    entries = orjson.loads(record.value)["events"]
    credits_ = [one["credits"] for one in entries if one["verdict"] == "charged"]
    duplicates = sum(one["verdict"] == "duplicate" for one in entries)
    return Tally(record.timestamp / 1_000, len(credits_), duplicates, sum(credits_))


def check(name: str, tallies: list[Tally], outcome: Outcome) -> None:
    """Raise MeasurementError where what was written is not what must come of the records."""
    found = tuple(sum(one[column] for one in tallies) for column in (1, 2, 3))
    expected = (outcome.charged, outcome.duplicates, outcome.credits)
    if found != expected:
        raise MeasurementError(
            f"{name} did the work wrongly: charged, duplicates, credits are {found},"
            f" and must be {expected}"
        )

"""Streams workers join under load: `make scaling`, or `python -m tests.benchmarks.scaling`.

Starts its own servers, one sinks worker and one streams worker over eight partitions, keeps a
steady load on them, and adds a streams worker every `--seconds`, to four; then one is killed with
-9. Prints, for each number of workers, what each of them rated, how many records waited at most,
and for how long more waited than usual; keeps the samples in test-artefacts/bench/scaling.json and
draws them. At the end every event must be in the ledger once, and the audit clean.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import psycopg
from aiokafka import AIOKafkaProducer

from deploy.bench.arena import ARTEFACTS
from deploy.local.servers import LocalServers
from schemas.topics import Topics
from sinks.migrations import migrate
from tests.benchmarks.contenders import bench_python
from tests.e2e.ledger import Ledger
from tests.e2e.producers import event
from tests.system import System
from tests.waiting import wait_until

PARTITIONS, WORKERS = 8, 4
EVENTS_PER_RECORD = 20
SAMPLE_SECONDS = 0.25
DRAIN_TIMEOUT_SECONDS = 120.0
PLOT_PROGRAM = Path(__file__).with_name("plot_scaling.py")
RATED = re.compile(r"^burnstream_streams_events_total{[^}]*} (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """How things stood. `at`: seconds; `waiting`: records of `usage.raw` beyond the ledger.

    `rated`: events that each worker has rated since it started.
    """

    at: float
    waiting: int
    rated: dict[str, int]


@dataclass(frozen=True)
class Stage:
    """A number of workers, from when the last of them was started, or killed."""

    workers: str
    begin: float
    end: float


class Load(threading.Thread):
    """Writes records at a steady rate, to each partition in its turn."""

    def __init__(self, system: System, records_per_second: float) -> None:
        super().__init__(name="load")
        self.records_per_second = records_per_second
        self.acknowledged = 0  # records
        self._servers = system.environment["KAFKA_BOOTSTRAP_SERVERS"]
        self._topic = Topics(system.environment["TOPIC_PREFIX"]).raw
        self._stopping = threading.Event()

    def run(self) -> None:
        """Write until it is stopped; then wait for Kafka."""
        asyncio.run(self._write())

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
        self.join()

    async def _write(self) -> None:
        template = event("cust-0")
        due = time.monotonic()
        number = 0
        async with AIOKafkaProducer(bootstrap_servers=self._servers, acks="all") as producer:
            while not self._stopping.is_set():
                customer = {"customer_id": f"cust-{number % PARTITIONS}"}
                events = [
                    template | customer | {"event_id": str(uuid.uuid4())}
                    for _ in range(EVENTS_PER_RECORD)
                ]
                sent = await producer.send(
                    self._topic, orjson.dumps({"events": events}), partition=number % PARTITIONS
                )
                sent.add_done_callback(self._count)
                number += 1
                due += 1 / self.records_per_second
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _count(self, sent: "asyncio.Future[object]") -> None:
        sent.result()
        self.acknowledged += 1


class Sampler(threading.Thread):
    """Looks at workers and ledger, over and over."""

    def __init__(self, system: System, load: Load) -> None:
        super().__init__(name="sampler")
        self.samples: list[Sample] = []
        self.begun_at = time.monotonic()
        self._system = system
        self._load = load
        self._stopping = threading.Event()

    @property
    def now(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.begun_at

    def is_at_pace(self) -> bool:
        """Whether something was rated, and less than a second's records wait."""
        last = self.samples[-1] if self.samples else None
        if last is None or not any(last.rated.values()):
            return False
        return last.waiting < self._load.records_per_second

    def run(self) -> None:
        """Sample until it is stopped."""
        with psycopg.connect(self._system.environment["DATABASE_URL"], autocommit=True) as ledger:
            while not self._stopping.wait(SAMPLE_SECONDS):
                applied = _applied_records(ledger)
                rated = {}
                for worker in list(self._system.streams):
                    with suppress(OSError):  # it is killed just now
                        if worker.metrics_port is not None:
                            found = RATED.findall(worker.metrics())
                            rated[worker.name] = sum(int(float(one)) for one in found)
                waiting = max(0, self._load.acknowledged - applied)
                self.samples.append(Sample(self.now, waiting, rated))

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
        self.join()


def _applied_records(ledger: psycopg.Connection[tuple[int]]) -> int:
    row = ledger.execute('SELECT sum(next_offset)::bigint FROM "SinkOffset"').fetchone()
    return row[0] if row else 0


def measure(
    servers: LocalServers, folder: Path, events_per_second: float, seconds: float
) -> tuple[list[Stage], list[Sample]]:
    """Run it and check the ledger at the end."""
    migrate(servers.database_url)
    environment = servers.addresses.environment() | {"TOPIC_PREFIX": ""}
    with System(folder / "system", environment) as system:
        system.prepare(PARTITIONS)
        ledger = Ledger(servers.database_url)
        for number in range(PARTITIONS):
            ledger.create_customer(f"cust-{number}", balance=10**12)
        system.start(gateways=0, streams=1, sinks=1)
        load = Load(system, events_per_second / EVENTS_PER_RECORD)
        sampler = Sampler(system, load)
        load.start()
        sampler.start()
        wait_until(sampler.is_at_pace, DRAIN_TIMEOUT_SECONDS, "the first worker keeps pace")
        stages = []
        try:
            for workers in range(1, WORKERS + 1):
                begin = sampler.now
                if workers > 1:
                    system.start(gateways=0, streams=1, sinks=0)
                time.sleep(max(0.0, begin + seconds - sampler.now))
                stages.append(Stage(f"{workers}", begin, sampler.now))
            begin = sampler.now
            system.streams.pop().kill()
            time.sleep(seconds)
            stages.append(Stage(f"{WORKERS}, one killed", begin, sampler.now))
        finally:
            load.stop()
            sampler.stop()
        _require_each_once(system, servers.database_url, load.acknowledged)
    return stages, [one for one in sampler.samples if one.at >= stages[0].begin]


def _require_each_once(system: System, database_url: str, records: int) -> None:
    with psycopg.connect(database_url, autocommit=True) as ledger:
        wait_until(
            lambda: _applied_records(ledger) == records, DRAIN_TIMEOUT_SECONDS, "all is applied"
        )
        row = ledger.execute('SELECT count(*), sum(credits_burned) FROM "UsageEvent"').fetchone()
    events = records * EVENTS_PER_RECORD
    if row is None or row[0] != events:
        sys.exit(f"scaling: {events} events were sent, the ledger holds {row}")
    system.burnstream("audit", "--log")
    print(f"{events:,} events, each charged once; the audit is clean", file=sys.stderr)


def table(stages: list[Stage], samples: list[Sample]) -> str:
    """Return what happened at each number of workers, as Markdown."""
    lines = [
        "| workers | events/s rated | share of each | records waiting at most | behind for, s |",
        "|---|---|---|---|---|",
    ]
    for stage in stages:
        within = [one for one in samples if stage.begin <= one.at <= stage.end]
        # The first half is the rebalance and what it left behind.
        settled = [one for one in within if one.at >= (stage.begin + stage.end) / 2]
        first, last = settled[0], settled[-1]
        rated = {name: many - first.rated.get(name, 0) for name, many in last.rated.items()}
        total = sum(rated.values())
        shares = ", ".join(f"{many / max(total, 1):.0%}" for _, many in sorted(rated.items()))
        lines.append(
            f"| {stage.workers} | {total / (last.at - first.at):,.0f} | {shares} "
            f"| {max(one.waiting for one in within):,} | {_behind_seconds(within, settled):.1f} |"
        )
    return "\n".join(lines)


def _behind_seconds(samples: list[Sample], settled: list[Sample]) -> float:
    """Return the longest time in which more waited than ever did when things had settled."""
    usual = max(one.waiting for one in settled)
    longest, since = 0.0, samples[0].at
    for sample in samples:
        if sample.waiting <= usual:
            since = sample.at
        longest = max(longest, sample.at - since)
    return longest


def main() -> None:
    """Measure, print, keep and draw."""
    parser = argparse.ArgumentParser(
        prog="make scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="with each number of workers")
    parser.add_argument("--rate", type=float, default=2_000.0, help="events per second")
    parser.add_argument("--plot", type=Path, default=ARTEFACTS / "scaling.svg", help=".svg, .png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="burnstream-scaling-") as name:
        Path(name).chmod(0o755)  # Root's Postgres runs as another user.
        with LocalServers(Path(name), kafka_port=0, postgres_port=0, redis_port=0) as servers:
            stages, samples = measure(servers, Path(name), options.rate, options.seconds)
    print(f"{os.cpu_count()} cores for everything, {options.rate:,.0f} events/s offered\n")
    print(table(stages, samples))
    kept = {
        "stages": [asdict(one) for one in stages],
        "samples": [asdict(one) for one in samples],
    }
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    (ARTEFACTS / "scaling.json").write_text(json.dumps(kept))
    python = bench_python()
    if python is None:
        print("no plot: its packages are not installed (make scaling does)", file=sys.stderr)
        return
    options.plot.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [python, PLOT_PROGRAM, options.plot], input=json.dumps(kept), text=True, check=True
    )
    print(f"plot: {options.plot}", file=sys.stderr)


if __name__ == "__main__":
    main()

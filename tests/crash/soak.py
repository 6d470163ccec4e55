"""A long run at a steady load with a fault a minute: does memory stay flat, does the claim hold?

    python -m tests.crash.soak [--minutes 60] [--seed N] [--rest 0.2] [--csv soak.csv]

Starts its own servers and two of each process, of which the first are spared by the faults of
processes, so that their memory is that of the whole time. Prints a line a minute; at the end holds
the ledger against the model, audits it with the log, and prints the memory of each process after
ten minutes, at half-time and at the end. `seen` grows with the identities of its window (24 h), so
their number stands beside it. Ends with 1 when anything is not as it should be.
"""

import argparse
import asyncio
import csv
import logging
import random
import re
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import psutil
import psycopg

from deploy.local.servers import LocalServers
from sinks.migrations import migrate
from tests.crash.checker import faults, summary
from tests.crash.fault import Scene
from tests.crash.ledger import end_offsets, read_ledger
from tests.crash.nemesis import Nemesis, one_by_one
from tests.crash.postgres_proxy import PostgresProxy
from tests.crash.trial import Trial
from tests.crash.workload import Load
from tests.system import System

MINUTE_SECONDS = 60.0
AUDIT_TIMEOUT_SECONDS = 1_800.0
SPARED = frozenset({"gateway-0", "streams-0", "sinks-0"})
_IDENTITIES = re.compile(r"^burnstream_streams_seen_identities (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reading:
    """How things stood at the end of a minute. Memory in MiB, and the pid that it is of."""

    minute: int
    fault: str
    recovered_seconds: float
    charged: int
    lag: int
    identities: int
    memory: dict[str, tuple[int, float]]

    def line(self) -> str:
        """Return it for the log."""
        memory = "  ".join(f"{name} {mib:.0f}" for name, (_, mib) in self.memory.items())
        return (
            f"{self.minute:3} min  {self.fault:20} recovered in {self.recovered_seconds:5.1f} s  "
            f"charged {self.charged:8}  lag {self.lag:5}  identities {self.identities:8}  "
            f"MiB: {memory}"
        )

    def row(self) -> dict[str, object]:
        """Return it for the CSV file."""
        return {
            "minute": self.minute,
            "fault": self.fault,
            "recovered_seconds": round(self.recovered_seconds, 1),
            "charged": self.charged,
            "lag": self.lag,
            "identities": self.identities,
            **{f"{name}_mib": round(mib, 1) for name, (_, mib) in self.memory.items()},
        }


def memory_mib(process: psutil.Process) -> float:
    """Return what a process holds, and its children, whose shared pages count once."""
    children = process.children(recursive=True)
    if not children:
        return float(process.memory_info().rss) / 2**20
    held = 0
    for one in (process, *children):
        with suppress(psutil.NoSuchProcess):
            held += one.memory_full_info().pss
    return held / 2**20


def memory_of_all(system: System, servers: LocalServers) -> dict[str, tuple[int, float]]:
    """Return pid and memory of each process by its name."""
    pids = {worker.name: worker.pid for worker in system.workers}
    for server in (servers.kafka, servers.postgres, servers.redis):
        if server is not None:
            pids[server.name.lower()] = server.pid
    found = {}
    for name, pid in pids.items():
        with suppress(psutil.NoSuchProcess):
            if pid is not None:
                found[name] = (pid, memory_mib(psutil.Process(pid)))
    return found


def identities(system: System) -> int:
    """Return how many identities the streams workers remember."""
    found = 0
    for worker in system.streams:
        with suppress(URLError, OSError):
            if worker.metrics_port is not None and (said := _IDENTITIES.search(worker.metrics())):
                found += int(float(said[1]))
    return found


def charged(database_url: str) -> int:
    """Return how many events are charged."""
    with psycopg.connect(database_url) as connection:
        found = connection.execute('SELECT sum(charged) FROM "RatedBatch"').fetchone()
    return int(found[0] or 0) if found else 0


def lag(trial: Trial) -> int:
    """Return how many offsets of `usage.raw` the sinks have not covered."""
    with psycopg.connect(trial.database_url) as connection:
        found = connection.execute(
            'SELECT sum(next_offset) FROM "SinkOffset" WHERE topic = %s', (trial.topics.raw,)
        ).fetchone()
    ends = asyncio.run(end_offsets(trial.bootstrap, trial.topics.raw))
    return sum(ends.values()) - int(found[0] if found else 0)


def batter(
    trial: Trial, nemesis: Nemesis, servers: LocalServers, minutes: int, csv_path: Path
) -> list[Reading]:
    """Inflict a fault a minute; return the readings."""
    readings: list[Reading] = []
    begun_at = time.monotonic()
    for minute, kind in zip(range(1, minutes + 1), one_by_one(nemesis.scene.rng), strict=False):
        nemesis.play([kind], measured=True)
        nemesis.let_run(begun_at + minute * MINUTE_SECONDS - time.monotonic())
        reading = Reading(
            minute,
            kind.__name__,
            nemesis.recoveries[-1].seconds,
            charged(trial.database_url),
            lag(trial),
            identities(trial.system),
            memory_of_all(trial.system, servers),
        )
        readings.append(reading)
        print(reading.line(), flush=True)
        write_csv(csv_path, readings)
    return readings


def write_csv(path: Path, readings: list[Reading]) -> None:
    """Write all readings anew: processes come and go, and with them columns."""
    rows = [reading.row() for reading in readings]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def memory_table(readings: list[Reading]) -> str:
    """Return memory after ten minutes, at half-time, at the end; *: another process than before."""
    count = len(readings)
    marks = sorted({min(10, count), max(1, count // 2), count})
    lines = [f"{'MiB after':14}" + "".join(f"{mark:>7} min" for mark in marks)]
    chosen = [readings[mark - 1] for mark in marks]
    for name in sorted(set.intersection(*(set(reading.memory) for reading in chosen))):
        cells, before = [], None
        for reading in chosen:
            pid, mib = reading.memory[name]
            cells.append(f"{mib:10.0f}{' ' if before in {None, pid} else '*'}")
            before = pid
        lines.append(f"{name:14}" + "".join(cells))
    lines.append(f"{'identities':14}" + "".join(f"{one.identities:10} " for one in chosen))
    return "\n".join(lines)


def check(trial: Trial) -> list[str]:
    """Hold the claim: the ledger equals the model, the audit with the log finds nothing."""
    trial.drain()
    found = faults(trial.model, read_ledger(trial.database_url))
    audit = trial.system.burnstream(
        "audit", "--log", check=False, timeout_seconds=AUDIT_TIMEOUT_SECONDS
    )
    print(audit.stdout)
    if audit.returncode != 0:
        found.append(f"audit: {audit.stderr}")
    return found


def soak(servers: LocalServers, folder: Path, arguments: argparse.Namespace) -> list[str]:
    """Run it; return what is wrong."""
    migrate(servers.database_url)
    with PostgresProxy(servers.database_url) as proxy:
        environment = servers.addresses.environment()
        environment |= {"DATABASE_URL": proxy.url, "TOPIC_PREFIX": "", "RATE_LIMIT_MAX": "0"}
        system = System(folder / "system", environment)
        scene = Scene(system, servers, proxy, random.Random(arguments.seed), SPARED)
        load = Load(posts=2, producers=1, transactional=1, rest_seconds=arguments.rest)
        with (
            Trial(system, seed=arguments.seed, load=load) as trial,
            Nemesis(scene, trial) as nemesis,
        ):
            trial.start(gateways=2, streams=2, sinks=2)
            nemesis.recover("the start")
            readings = batter(trial, nemesis, servers, arguments.minutes, arguments.csv)
            found = check(trial)
            model = trial.model
            print(f"usages {len(model.usages)}, deliveries {model.sent.total()}, ", end="")
            print(f"answers lost or refused {trial.workload.refused_answers}")
            print(nemesis.report())
            print(memory_table(readings))
    return found


def main() -> None:
    """Run the soak and exit with what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--rest", type=float, default=0.2, help="seconds between deliveries")
    parser.add_argument("--csv", type=Path, default=Path("soak.csv"))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    for library in ("aiokafka", "asyncio"):  # What they say while servers are away fills pages.
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="burnstream-soak-") as folder:
        Path(folder).chmod(0o755)
        with LocalServers(Path(folder), kafka_port=0, postgres_port=0, redis_port=0) as servers:
            found = soak(servers, Path(folder), arguments)
    print(summary(found) if found else "nothing is wrong")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

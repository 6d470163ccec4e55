"""Partitions are added under load, by a command that is killed, while a worker is killed, too.

Customers' keys move to other partitions: what was sent before the move is sent again after it, and
must not be charged again. Nobody is told, and nobody who was not killed is started again.
"""

import asyncio
import random
import re
import signal
import subprocess
import sys
import time
from itertools import chain

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.dead_letter import FORMAT_HEADER
from schemas.topics import partition_for_key
from tests.crash.ledger import end_offsets
from tests.crash.trial import Trial
from tests.crash.workload import Load
from tests.system import System
from tests.waiting import wait_until

BEFORE, AFTER = 4, 8
STEPS = ("usage.rated", "usage.burns", "usage.raw")
LOAD = Load(posts=2, producers=2, rest_seconds=0.05)
TIMEOUT_SECONDS = 60.0
LAG_GAUGES = ("burnstream_streams_lag", "burnstream_sinks_lag_records")


def kill_a_scale(system: System, step: str) -> None:
    """Run `burnstream scale`, killed with -9 before that topic grows."""
    killed = subprocess.run(
        [sys.executable, "-m", "tests.crash.crashing_scale", step, str(AFTER)],
        env=system.environment,
        cwd=system.folder,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL


def has_each_record(trial: Trial, partitions: int) -> bool:
    """Whether usage.raw has so many partitions, and each of them a record."""
    ends = asyncio.run(end_offsets(trial.bootstrap, trial.topics.raw))
    return len(ends) == partitions and min(ends.values()) > 0


def have_gateways_moved(trial: Trial) -> bool:
    """Whether each customer whose key belongs to an added partition was written there."""
    places = [(key.encode(), partition_for_key(key.encode(), AFTER)) for key in trial.keys]
    moved = [(key, partition) for key, partition in places if partition >= BEFORE]
    assert moved
    return all(asyncio.run(has_gateway_written(trial, *place)) for place in moved)


async def has_gateway_written(trial: Trial, key: bytes, partition: int) -> bool:
    """Whether a partition holds a record of this key that a gateway wrote: they say a format."""
    source = TopicPartition(trial.topics.raw, partition)
    async with AIOKafkaConsumer(
        bootstrap_servers=trial.bootstrap, auto_offset_reset="earliest"
    ) as reader:
        reader.assign([source])
        end = (await reader.end_offsets([source]))[source]
        while await reader.position(source) < end:
            for record in (await reader.getmany(timeout_ms=200)).get(source, ()):
                if record.key == key and FORMAT_HEADER in record.headers:
                    return True
    return False


def are_shared_out(system: System) -> bool:
    """Whether each partition has exactly one streams worker and one sink, and all have some."""
    for workers, gauge in zip((system.streams, system.sinks), LAG_GAUGES, strict=True):
        pages = [worker.metrics() for worker in workers]
        lag = re.compile(rf'^{gauge}{{partition="(\d+)"}}', re.MULTILINE)
        owned = [[int(partition) for partition in lag.findall(page)] for page in pages]
        if not all(owned) or sorted(chain(*owned)) != list(range(AFTER)):
            return False
    return True


def duplicates_across(trial: Trial) -> int:
    """Duplicates in an added partition of events that were charged in one of the first."""
    with psycopg.connect(trial.database_url) as connection:
        row = connection.execute(
            'SELECT count(*) FROM "DuplicateEvent" late JOIN "UsageEvent" first'
            " ON first.customer_id = late.customer_id AND first.id = late.event_id"
            " WHERE late.partition >= %(before)s AND first.source_partition < %(before)s",
            {"before": BEFORE},
        ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.timeout(480)
@pytest.mark.parametrize(
    "step", ["any", *(pytest.param(step, marks=pytest.mark.whole) for step in STEPS)]
)
def test_partitions_are_added_under_load(system: System, seed: int, step: str) -> None:
    """Four become eight: everybody finds them, keys move, nothing is lost or charged twice."""
    rng = random.Random(seed)
    with Trial(system, seed=seed, partitions=BEFORE, load=LOAD) as trial:
        trial.start(gateways=2, streams=2, sinks=2)
        wait_until(lambda: has_each_record(trial, BEFORE), TIMEOUT_SECONDS, "each has records")
        pids = {worker.name: worker.pid for worker in system.workers}
        kill_a_scale(system, rng.choice(STEPS) if step == "any" else step)
        system.burnstream("scale", "--partitions", str(AFTER))
        scaled_at = time.monotonic()

        victim = rng.choice([*system.streams, *system.sinks])
        victim.kill()
        victim.start()
        wait_until(lambda: have_gateways_moved(trial), TIMEOUT_SECONDS, "gateways write there")
        print(f"{time.monotonic() - scaled_at:5.1f} s until gateways wrote to added partitions")
        victim.wait_until_started()
        wait_until(lambda: are_shared_out(system), TIMEOUT_SECONDS, "each has its two workers")
        print(f"{time.monotonic() - scaled_at:5.1f} s until workers owned them")
        wait_until(lambda: has_each_record(trial, AFTER), TIMEOUT_SECONDS, "each has records")
        trial.check()
        assert duplicates_across(trial) > 0
        wait_until(lambda: are_shared_out(system), TIMEOUT_SECONDS, "each has them still")
        del pids[victim.name]
        assert pids.items() <= {worker.name: worker.pid for worker in system.workers}.items()

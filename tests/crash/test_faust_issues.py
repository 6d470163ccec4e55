"""Faust's open issues 596 and 606, provoked in real workers: harmless here.

596: a race at the end of a recovery loses what was fetched, and nothing is committed any more. Here
the streams' guard and the sinks' eye on what comes next read it again; and where nothing comes
behind the loss, the lost run itself tells.
606: the offset committed runs ahead of what was done. Here nobody believes Kafka's offsets.
"""

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.crash.ledger import end_offsets
from tests.crash.trial import Trial
from tests.crash.workload import Load
from tests.system import System, Worker
from tests.waiting import wait_until

LOAD = Load(posts=0, producers=1, rest_seconds=0.05)
LOSSES_MIN = 5


def start_faulty(system: System, process: str, fault: str, seed: int) -> Worker:
    """Start a worker whose Faust is broken."""
    own = {"FAULTY_PROCESS": process, "FAUST_FAULT": fault, "CRASH_SEED": str(seed)}
    number = ("streams", "sinks").index(process)
    worker = Worker("tests.crash.faulty_faust", number, system.folder, system.environment | own)
    worker.start()
    return worker


def count_of(worker: Worker, event: str) -> int:
    """Return how often a worker logged it."""
    return sum(record.get("event") == event for record in worker.log_records)


def has_lost_enough(worker: Worker) -> bool:
    """Whether both kinds of losses were provoked in a worker."""
    return all(count_of(worker, event) >= LOSSES_MIN for event in ("Fetch cut", "Queues cleared"))


async def committed(bootstrap: str, group: str) -> dict[int, int]:
    """Return what a group has committed, by partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    return {partition.partition: found.offset for partition, found in offsets.items()}


def is_committed_whole(trial: Trial, group: str, topic: str) -> bool:
    """Whether Kafka believes that a group has done all of a topic that holds something."""
    ends = asyncio.run(end_offsets(trial.bootstrap, topic))
    return all(ends.values()) and asyncio.run(committed(trial.bootstrap, group)) == ends


@pytest.mark.timeout(300)
def test_what_faust_loses_is_read_again(system: System, seed: int) -> None:
    """Queues cleared and fetches cut at random, down to the last record: ledger equals model."""
    with Trial(system, seed=seed, partitions=2, load=LOAD) as trial:
        trial.prepare()
        system.sinks.append(start_faulty(system, "sinks", "loses", seed))
        system.streams.append(start_faulty(system, "streams", "loses", seed))
        trial.start_load()
        for worker in system.workers:
            wait_until(lambda one=worker: has_lost_enough(one), 60, f"{worker.name} loses enough")  # type: ignore[misc]
        trial.check()
        system.require_all_running()


@pytest.mark.whole
@pytest.mark.timeout(300)
def test_offsets_committed_too_early_are_not_believed(system: System, seed: int) -> None:
    """Kafka is told that all is done while nothing is; after a kill -9 all of it is done."""
    with Trial(system, seed=seed, partitions=2, load=LOAD) as trial:
        trial.prepare()
        hanging = start_faulty(system, "streams", "commits-ahead", seed)
        trial.start_load()
        wait_until(lambda: count_of(hanging, "Hanging") >= 2, 60, "both partitions are in hand")
        trial.workload.pause(30)
        topics = trial.topics
        wait_until(
            lambda: is_committed_whole(trial, topics.streams_group, topics.raw), 30, "told as done"
        )
        hanging.kill()
        assert not any(asyncio.run(end_offsets(trial.bootstrap, topics.rated)).values())

        hanging = start_faulty(system, "sinks", "commits-ahead", seed)
        system.start(gateways=0, streams=1, sinks=0)
        wait_until(
            lambda: is_committed_whole(trial, topics.sinks_group, topics.rated), 60, "told as done"
        )
        hanging.kill()
        system.start(gateways=0, streams=0, sinks=1)
        trial.check()
        assert trial.model.sent.total() > 0

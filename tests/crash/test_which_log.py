"""Which log is it: logs that are made again, cut off or expired, offsets reset, a ledger restored.

What can be known heals by itself. What cannot is refused by name (exit 72), with the command that
a person decides by; then all goes on, nothing is charged twice, nothing is dropped silently, and
the audit prints the decision.
"""

import asyncio
import json
from typing import Any

import psycopg
import pytest

from deploy.local.kafka_server import KafkaServer
from deploy.local.servers import LocalServers
from schemas.topics import TOPIC_SPECS
from sinks.audit import audit
from streams.seen import fold_of
from tests.crash.disasters import (
    back_up,
    commit,
    delete_groups,
    end_of,
    expire,
    intrude,
    lose_end,
    restore,
    wipe,
)
from tests.crash.ledger import create_customers, read_ledger
from tests.crash.trial import Trial
from tests.crash.workload import Load
from tests.integration.operations.kafka_records import consume, delete_and_wait
from tests.system import System, Worker
from tests.waiting import wait_until

REFUSED = 72
REFUSAL_SECONDS = 120.0
GROWTH_SECONDS = 120.0
LOAD = Load(posts=0, producers=2, rest_seconds=0.005)


@pytest.fixture
def trial_of_one(system: System, seed: int) -> Any:
    """A trial with one partition, that workers leave and come back to within seconds."""
    system.environment["SESSION_TIMEOUT_SECONDS"] = "3"
    with Trial(system, seed=seed, partitions=1, load=LOAD) as trial:
        yield trial


def refusal_of(worker: Worker) -> str:
    """Wait until a worker has ended as refused, and return why."""
    wait_until(lambda: worker.exit_code is not None, REFUSAL_SECONDS, f"{worker.name} refuses")
    assert worker.exit_code == REFUSED, worker.last_words()
    return str(worker.log_records[-1]["event"])


def repair(trial: Trial, command: str, partition: int = 0) -> dict[str, Any]:
    """Take a decision as the refusal says, and find it among what the audit prints for ever."""
    told = trial.system.burnstream(
        "repair", command, str(partition), "--reason", "disk lost", "--by", "ann", "--json"
    )
    decision: dict[str, Any] = json.loads(told.stdout)
    return decision


def decisions(trial: Trial) -> list[dict[str, Any]]:
    """What persons decided, as the audit prints it."""
    with psycopg.connect(trial.database_url) as connection:
        return audit(connection).decisions


def let_grow(trial: Trial, topic: str, beyond: int) -> None:
    """Let the load write until a partition has grown past an offset, then pause it."""
    trial.workload.go_on()
    wait_until(
        lambda: end_of(trial.bootstrap, topic) > beyond, GROWTH_SECONDS, f"grown past {beyond}"
    )
    trial.workload.pause(GROWTH_SECONDS)


def charge_some(trial: Trial, records: int = 150) -> int:
    """Let the load write so many records more, all charged; return where `usage.raw` ends."""
    let_grow(trial, trial.topics.raw, end_of(trial.bootstrap, trial.topics.raw) + records)
    trial.drain()
    return end_of(trial.bootstrap, trial.topics.raw)


def stop_all(system: System) -> None:
    """Ask every worker to end, and wait."""
    for worker in system.workers:
        assert worker.stop() == 0


def kafka_of(servers: LocalServers) -> KafkaServer:
    """The session's broker."""
    assert servers.kafka is not None
    return servers.kafka


def usages_in(trial: Trial, below: int, first: int = 0, partition: int = 0) -> set[str]:
    """Names of the usages in a stretch of `usage.raw`."""
    found = set()
    for record in consume(trial.bootstrap, trial.topics.raw, partition):
        if first <= record.offset < below:
            value = json.loads(record.value)
            found |= {one["metadata"]["usage"] for one in value.get("events", [value])}
    return found


def compare_less_the_lost(trial: Trial, lost: set[str]) -> None:
    """Hold the claim; of the usages that a disaster destroyed, each may be charged or not."""
    ledger = read_ledger(trial.database_url)
    booked = ledger.credits_by_event.keys() | ledger.dead_letter_events
    for name in lost:
        usage = trial.model.usages.get(name)
        if usage is not None and usage.event_ids.isdisjoint(booked):
            del trial.model.usages[name]
    trial.compare()


@pytest.mark.timeout(600)
def test_raw_cut_off_and_grown_past_the_position_while_stopped(
    trial_of_one: Trial, local_servers: LocalServers
) -> None:
    """Offsets that were charged hold other records when a worker comes: it is refused by name."""
    trial, system = trial_of_one, trial_of_one.system
    trial.start(gateways=0)
    end = charge_some(trial)
    stop_all(system)
    lose_end(kafka_of(local_servers), trial.topics.raw, 0, end // 2)
    assert end_of(trial.bootstrap, trial.topics.raw) <= end // 2
    let_grow(trial, trial.topics.raw, end + 50)

    system.restart_ended()
    assert "repair new-epoch 0" in refusal_of(system.streams[0])
    decision = repair(trial, "new-epoch")
    assert decision["first_offset"] == end
    assert decision["next_offset"] <= end // 2
    system.restart_ended()
    trial.check()
    assert [one["kind"] for one in decisions(trial)] == ["new-epoch"]


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_raw_cut_off_while_stopped(trial_of_one: Trial, local_servers: LocalServers) -> None:
    """A log that ends below what was charged is refused by name."""
    trial, system = trial_of_one, trial_of_one.system
    trial.start(gateways=0)
    end = charge_some(trial)
    stop_all(system)
    lose_end(kafka_of(local_servers), trial.topics.raw, 0, end // 2)

    system.restart_ended()
    assert "repair new-epoch 0" in refusal_of(system.streams[0])
    assert repair(trial, "new-epoch")["next_offset"] == end_of(trial.bootstrap, trial.topics.raw)
    system.restart_ended()
    let_grow(trial, trial.topics.raw, end + 50)
    trial.check()
    assert [one["kind"] for one in decisions(trial)] == ["new-epoch"]


@pytest.mark.whole
@pytest.mark.timeout(600)
@pytest.mark.parametrize("is_frozen", [False, True], ids=["reading", "between two fetches"])
def test_raw_cut_off_and_grown_past_the_position_under_live_workers(
    trial_of_one: Trial, local_servers: LocalServers, is_frozen: bool
) -> None:
    """The consumer may go on at the same offset as if nothing had been: the worker finds out."""
    trial, system = trial_of_one, trial_of_one.system
    system.environment["SESSION_TIMEOUT_SECONDS"] = "60" if is_frozen else "3"
    trial.start(gateways=0)
    end = charge_some(trial)
    streams = system.streams[0]
    if is_frozen:
        streams.pause()
    lose_end(kafka_of(local_servers), trial.topics.raw, 0, end // 2)
    let_grow(trial, trial.topics.raw, end + 50)
    streams.resume()

    assert "repair new-epoch 0" in refusal_of(streams)
    # Nothing of the new log was rated as if it followed the old one.
    assert repair(trial, "new-epoch")["first_offset"] == end
    system.environment["SESSION_TIMEOUT_SECONDS"] = "3"
    system.restart_ended()
    trial.check()
    assert [one["kind"] for one in decisions(trial)] == ["new-epoch"]


@pytest.mark.timeout(600)
def test_raw_made_again_under_live_workers(system: System, seed: int) -> None:
    """Deleted and made anew, producers going on: refused by name; then all is charged once."""
    system.environment["SESSION_TIMEOUT_SECONDS"] = "3"
    load = Load(posts=1, producers=1, rest_seconds=0.005)
    with Trial(system, seed=seed, partitions=2, load=load) as trial:
        trial.start(streams=2)
        charge_some(trial, records=80)
        delete_and_wait(trial.bootstrap, trial.topics.raw)
        told = system.burnstream("topics").stderr
        assert "repair new-epoch 0" in told
        assert "repair new-epoch 1" in told
        trial.workload.go_on()
        for worker in system.streams:
            assert "repair new-epoch" in refusal_of(worker)
        trial.workload.pause(GROWTH_SECONDS)
        for partition in (0, 1):
            assert repair(trial, "new-epoch", partition)["next_offset"] == 0
        system.restart_ended()
        trial.workload.go_on()
        trial.check()
        assert [one["kind"] for one in decisions(trial)] == ["new-epoch"] * 2


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_raw_expired_past_the_position(trial_of_one: Trial) -> None:
    """What no log holds any more is a hole that a person accepts; all around it is charged."""
    trial, system = trial_of_one, trial_of_one.system
    trial.start(gateways=0)
    end = charge_some(trial)
    stop_all(system)
    let_grow(trial, trial.topics.raw, end + 100)
    lost = usages_in(trial, end + 60, end)
    expire(trial.bootstrap, trial.topics.raw, 0, end + 60)

    system.restart_ended()
    assert "repair accept-hole 0" in refusal_of(system.streams[0])
    decision = repair(trial, "accept-hole")
    assert (decision["first_offset"], decision["next_offset"]) == (end, end + 60)
    system.restart_ended()
    trial.drain()
    compare_less_the_lost(trial, lost)
    (printed,) = decisions(trial)
    assert (printed["kind"], printed["reason"]) == ("hole", "disk lost")


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_rated_expired_past_the_sinks(trial_of_one: Trial) -> None:
    """Verdicts that expired unread are made again from `usage.raw`: nothing is lost."""
    trial, system = trial_of_one, trial_of_one.system
    trial.start(gateways=0)
    end = charge_some(trial)
    assert system.sinks[0].stop() == 0
    let_grow(trial, trial.topics.raw, end + 100)
    rated = trial.topics.rated
    wait_until(lambda: rated_up_to(trial) > end + 100, GROWTH_SECONDS, "all is rated")
    expire(trial.bootstrap, rated, 0, end_of(trial.bootstrap, rated) - 1)

    system.restart_ended()
    assert "repair new-epoch 0" in refusal_of(system.sinks[0])
    refused = system.burnstream("repair", "accept-hole", "0", "--reason", "r", check=False)
    assert "burnstream repair new-epoch 0" in refused.stderr
    decision = repair(trial, "new-epoch")
    assert (decision["first_offset"], decision["next_offset"]) == (end, end)
    system.restart_ended()
    trial.check()
    assert [one["kind"] for one in decisions(trial)] == ["new-epoch"]


def rated_up_to(trial: Trial) -> int:
    """Return up to which offset `usage.raw` is rated."""
    records = consume(trial.bootstrap, trial.topics.rated, 0)
    return max((fold_of(one.headers).next_offset for one in records), default=0)


@pytest.mark.whole
@pytest.mark.timeout(600)
@pytest.mark.parametrize("is_live", [False, True], ids=["stopped", "live"])
def test_rated_made_again(trial_of_one: Trial, is_live: bool) -> None:
    """Streams rate again what `usage.raw` holds, sinks read all of it and clip: it heals."""
    trial, system = trial_of_one, trial_of_one.system
    trial.start(gateways=0)
    charge_some(trial)
    if not is_live:
        stop_all(system)
    delete_and_wait(trial.bootstrap, trial.topics.rated)
    system.burnstream("topics")
    trial.workload.go_on()
    trial.check()
    assert decisions(trial) == []


@pytest.mark.whole
@pytest.mark.timeout(600)
@pytest.mark.parametrize("is_live", [False, True], ids=["stopped", "live"])
def test_rated_cut_off_then_written_to_again(
    trial_of_one: Trial, local_servers: LocalServers, is_live: bool
) -> None:
    """What was lost of it is rated again, whether or not the sinks had read it: it heals."""
    trial, system = trial_of_one, trial_of_one.system
    trial.start(gateways=0)
    for _ in range(2):  # the second time with a tail that no sink has read, too
        charge_some(trial)
        if not is_live:
            assert system.sinks[0].stop() == 0
            let_grow(trial, trial.topics.raw, end_of(trial.bootstrap, trial.topics.raw) + 50)
            stop_all(system)
        rated = trial.topics.rated
        lose_end(kafka_of(local_servers), rated, 0, end_of(trial.bootstrap, rated) // 2)
        trial.workload.go_on()
        trial.check()
    assert decisions(trial) == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "is_to_end",
    [
        pytest.param(False, id="to zero", marks=pytest.mark.whole),
        pytest.param(True, id="to the end"),
    ],
)
def test_group_offsets_reset_while_stopped(trial_of_one: Trial, is_to_end: bool) -> None:
    """Kafka's committed offsets are a hint that nobody follows."""
    trial, system = trial_of_one, trial_of_one.system
    trial.start(gateways=0)
    end = charge_some(trial)
    stop_all(system)
    let_grow(trial, trial.topics.raw, end + 50)
    for topic, group in groups_of(trial):
        commit(trial.bootstrap, topic, group, end_of(trial.bootstrap, topic) if is_to_end else 0)
    system.restart_ended()
    trial.check()


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_groups_deleted_while_stopped(trial_of_one: Trial) -> None:
    """Kafka forgets both groups altogether: the workers found them again, and lose nothing."""
    trial, system = trial_of_one, trial_of_one.system
    trial.start(gateways=0)
    end = charge_some(trial)
    stop_all(system)
    let_grow(trial, trial.topics.raw, end + 50)
    delete_groups(trial.bootstrap, [group for _, group in groups_of(trial)])
    system.restart_ended()
    trial.check()


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_a_competing_client_in_both_groups(trial_of_one: Trial) -> None:
    """A stranger joins, takes the partition, commits beyond and below, and leaves."""
    trial, system = trial_of_one, trial_of_one.system
    trial.start(gateways=0)
    charge_some(trial)
    trial.workload.go_on()
    for topic, group in groups_of(trial) * 2:
        for offset in (0, None):
            asyncio.run(intrude(trial.bootstrap, topic, group, offset))
    trial.check()
    system.require_all_running()


def groups_of(trial: Trial) -> list[tuple[str, str]]:
    """The topics that groups read, and the groups."""
    topics = trial.topics
    return [(topics.raw, topics.streams_group), (topics.rated, topics.sinks_group)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "is_live",
    [pytest.param(True, id="live"), pytest.param(False, id="stopped", marks=pytest.mark.whole)],
)
def test_postgres_restored_from_an_older_backup(trial_of_one: Trial, is_live: bool) -> None:
    """Everything since the backup is charged again, once: by the logs, which reach back to it."""
    trial, system = trial_of_one, trial_of_one.system
    system.environment["SELF_REPLAYS_PER_ROUND"] = "0"
    trial.start(gateways=0)
    charge_some(trial)
    backup = system.folder / "backup.dump"
    back_up(trial.database_url, backup)
    # A letter is replayed, and a price is changed, between backup and restore.
    letters = json.loads(system.burnstream("dead-letters", "list", "--json").stdout)
    if letters:
        system.burnstream("dead-letters", "replay", letters[0]["id"])
    with psycopg.connect(trial.database_url) as connection:
        connection.execute(
            'UPDATE "ProviderCost" SET cost_per_unit = cost_per_unit WHERE model = %s',
            ["gpt-4-turbo"],
        )
    charge_some(trial, records=80)
    changed = price_revision(trial)
    if not is_live:
        stop_all(system)
    restore(trial.database_url, backup)
    trial.workload.go_on()
    trial.check()
    assert decisions(trial) == []
    # Readers keep the highest revision: the restored prices must stand above what they have seen.
    wait_until(lambda: price_revision(trial) > changed, GROWTH_SECONDS, "the revision is raised")


def price_revision(trial: Trial) -> int:
    """The revision of the prices in the ledger."""
    with psycopg.connect(trial.database_url) as connection:
        row = connection.execute('SELECT revision FROM "PriceRevision"').fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_kafka_wiped_and_postgres_kept(trial_of_one: Trial) -> None:
    """Both logs are made again: refused at the start, by name; decided, old and new count once."""
    trial, system = trial_of_one, trial_of_one.system
    trial.start(gateways=0)
    end = charge_some(trial)
    stop_all(system)
    wipe_kafka(trial)
    system.burnstream("topics")  # as many as the ledger knows

    system.restart_ended()
    assert "repair new-epoch 0" in refusal_of(system.sinks[0])
    # The streams know of nothing that was, and rate; it must not count before the decision.
    let_grow(trial, trial.topics.raw, end // 2)
    wait_until(lambda: rated_up_to(trial) > end // 2, GROWTH_SECONDS, "the streams rate")
    system.restart_ended()
    assert "repair new-epoch 0" in refusal_of(system.sinks[0])
    assert repair(trial, "new-epoch")["next_offset"] == 0
    trial.check()
    assert [one["kind"] for one in decisions(trial)] == ["new-epoch"]


def wipe_kafka(trial: Trial) -> None:
    """Delete every topic of the trial."""
    prefix = trial.topics.prefix
    for spec in TOPIC_SPECS:
        delete_and_wait(trial.bootstrap, prefix + spec.name)


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_postgres_wiped_and_kafka_kept(trial_of_one: Trial) -> None:
    """A new ledger takes in all that the logs hold; what lacks a customer waits as a letter."""
    trial, system = trial_of_one, trial_of_one.system
    trial.start(gateways=0)
    charge_some(trial)
    stop_all(system)
    wipe(trial.database_url)
    for command in ("migrate", "topics", "seed"):
        system.burnstream(command)
    system.restart_ended()
    wait_until(lambda: has_letters(trial), REFUSAL_SECONDS, "letters of unknown customers")
    create_customers(trial.database_url)
    while has_letters(trial):
        system.burnstream("dead-letters", "replay", "--all", "--kind", "UNKNOWN_CUSTOMER")
        trial.drain()
    trial.check()


def has_letters(trial: Trial) -> bool:
    """Whether letters of unknown customers are open."""
    told = trial.system.burnstream("dead-letters", "list", "--kind", "UNKNOWN_CUSTOMER", "--json")
    return bool(json.loads(told.stdout))

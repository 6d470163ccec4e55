"""Records that stop a worker, and floods of letters that stop the stage: held, named, gone on."""

import re
from typing import Any

import orjson
import pytest

from tests.crash.kafka_door import RawRecord
from tests.crash.test_dead_letters import (
    CREDITS,
    LIGHT_LOAD,
    NO_LOAD,
    WAIT_SECONDS,
    Sent,
    rows,
    write,
)
from tests.crash.trial import Trial
from tests.crash.workload import MODEL_WITHOUT_PRICE
from tests.system import System, Worker
from tests.waiting import wait_until

POISONED = "tests.integration.streams.poisoned_worker"
DEATHS = 3
SMALL_BREAKER = {"DEAD_LETTER_COUNT_MIN": "60", "BATCH_EVENTS_MAX": "20"}
LETTERS_BEFORE_HELD_MAX = 60 - 1
HELD = "burnstream_streams_stopped_by_dead_letters"


def add_poisoned(system: System) -> None:
    """Start a streams worker that has a bug."""
    worker = Worker(POISONED, len(system.streams), system.folder, system.environment)
    system.streams.append(worker)
    worker.start()


def place_of_death(worker: Worker, deaths: int) -> tuple[int, int]:
    """Start it as a supervisor does until it died so often, and return where: always there."""
    places = []
    for _ in range(deaths):
        worker.start()
        wait_until(lambda: worker.pid is None, WAIT_SECONDS, f"{worker.name} ends by itself")
        assert worker.exit_code == 70, worker.last_words()
        last = [one for one in worker.log_records if one.get("exit_code") == 70][-1]
        places.append((last["partition"], last["offset"]))
    assert len(set(places)) == 1, places
    return places[0]


def quarantine(system: System, place: tuple[int, int]) -> None:
    """Set a record aside, as the log's last line tells an operator to."""
    partition, offset = place
    system.burnstream("quarantine", str(partition), str(offset), "--reason", "a bug", "--by", "ann")


def quarantined(trial: Trial) -> list[tuple[Any, ...]]:
    """Return id, status and payload of the records that were set aside, the oldest first."""
    return rows(
        trial,
        "SELECT id, status, payload FROM \"DeadLetter\" WHERE reason = 'QUARANTINED' "
        "ORDER BY created_at",
    )


@pytest.mark.whole
@pytest.mark.timeout(480)
def test_a_record_that_kills_workers_is_set_aside_and_charged_later(
    system: System, seed: int
) -> None:
    """Named at each death, quarantined, replayed too early, and once the bug is gone: once."""
    with Trial(system, seed=seed, load=LIGHT_LOAD) as trial:
        trial.start(gateways=1, streams=0, sinks=1)
        sent = Sent(trial)
        customer = min(trial.keys)
        good, poison = (sent.event(customer, feature_id=one) for one in ("letters", "poison"))
        unpriced = sent.event(customer, MODEL_WITHOUT_PRICE)
        payload = orjson.dumps({"events": [good, poison, unpriced]})
        write(trial, [RawRecord(payload, key=customer.encode())])
        sent.expect("charged", [good, poison], CREDITS)
        sent.expect("unpriced", [unpriced], None)

        add_poisoned(system)
        quarantine(system, place_of_death(system.streams[0], DEATHS))
        trial.drain()
        assert quarantined(trial) == [(quarantined(trial)[0][0], "OPEN", payload)]
        # Too early: the replay is a record of its own, and kills again.
        system.burnstream("dead-letters", "replay", quarantined(trial)[0][0])
        quarantine(system, place_of_death(system.streams[0], 1))
        trial.drain()
        (first, again) = quarantined(trial)
        assert (first[1:], again[1:]) == (("REPLAYED", payload), ("OPEN", payload))

        trial.workload.go_on()
        system.streams.pop().kill()
        system.start(gateways=0, streams=1, sinks=0)
        system.burnstream("dead-letters", "replay", first[0], again[0])
        system.sinks[0].kill()
        trial.check()
        assert sent.charged("charged") == 2
        assert [one[1] for one in quarantined(trial)] == ["REPLAYED", "REPLAYED"]


def is_held(system: System) -> list[Worker]:
    """Return the running workers that say that they stand still."""
    return [
        worker
        for worker in system.streams
        if worker.metrics_port is not None
        and worker.pid is not None
        and re.search(rf"^{HELD} 1\.0$", worker.metrics(), re.MULTILINE)
    ]


@pytest.mark.whole
@pytest.mark.timeout(480)
def test_a_deleted_price_list_does_not_drain_the_log_into_letters(
    system: System, seed: int
) -> None:
    """Held, killed, held again, below the stated bound; the prices come back: all charged once.

    In one partition, where the customers stand side by side: a part of a run that has letters of
    fewer than three is never held.
    """
    system.environment |= SMALL_BREAKER
    with Trial(system, seed=seed, partitions=1, load=NO_LOAD) as trial:
        trial.prepare()
        rows(trial, 'CREATE TABLE kept AS SELECT * FROM "ProviderCost"')
        rows(trial, 'DELETE FROM "ProviderCost"')
        system.start(gateways=0, streams=1, sinks=1)
        trial.start_load()
        sent = Sent(trial)
        customers = sorted(trial.keys)[:4]
        sent.write("flood", [sent.event(customers[n % 4]) for n in range(800)], CREDITS)
        (holding,) = wait_until(lambda: is_held(system), WAIT_SECONDS, "the stage is held")
        held_first = len(sent.letters("flood"))
        holding.kill()
        system.restart_ended()
        wait_until(lambda: is_held(system), WAIT_SECONDS, "the stage is held again")
        # A minute's letters are counted by a worker: one that comes new begins anew.
        assert held_first <= LETTERS_BEFORE_HELD_MAX
        assert len(sent.letters("flood")) <= 2 * LETTERS_BEFORE_HELD_MAX
        assert "Too many dead letters" in system.streams[0].log

        rows(trial, 'INSERT INTO "ProviderCost" SELECT * FROM kept')
        trial.check()
        assert sent.charged("flood") == 800
        assert not is_held(system)
        assert {status for _, status, _ in sent.letters("flood")} <= {"REPLAYED"}


@pytest.mark.whole
@pytest.mark.timeout(480)
def test_the_flood_of_two_customers_holds_nobody(system: System, seed: int) -> None:
    """Others are charged behind it; below three customers nothing is ever held: a known limit."""
    system.environment |= SMALL_BREAKER
    with Trial(system, seed=seed, partitions=1, load=LIGHT_LOAD) as trial:
        trial.start(gateways=1, streams=2, sinks=1)
        sent = Sent(trial)
        customers = sorted(trial.keys)[:2]
        flood = [sent.event(customers[n % 2], MODEL_WITHOUT_PRICE) for n in range(800)]
        sent.write("flood", flood, None)
        trial.check()
        assert len(sent.letters("flood")) == 800
        assert not any("Too many dead letters" in worker.log for worker in system.streams)

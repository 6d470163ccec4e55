"""Workers whose clocks are days off, or jump: verdicts depend on the broker's time alone.

By libfaketime (Debian's package faketime); skipped where it is not installed.
"""

import asyncio
import itertools
import random
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import psycopg
import pytest
from aiokafka import AIOKafkaProducer

from tests.crash.model import Usage
from tests.crash.moves import CREDITS, Moves, records_of
from tests.crash.trial import Trial
from tests.crash.workload import MODEL_WITHOUT_PRICE, Load
from tests.system import System, Worker
from tests.waiting import wait_until

PARTITIONS = 4
JUMPS_HOURS = (48, -48, 0, 720, -36)
JUMP_TIMEOUT_SECONDS = 60.0
CACHE_SECONDS = "1"


@pytest.fixture
def faketime() -> str:
    """Path of the library that gives a process another clock."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        pytest.skip("no libfaketime on this machine: install Debian's package faketime")
    return str(found[0])


def set_clock(clock: Path, hours: int) -> None:
    """Let the clocks of those who read this file be off by so much, now."""
    fresh = clock.with_suffix(".fresh")
    fresh.write_text(f"{hours:+d}h\n")
    fresh.rename(clock)


def has_jumped(worker: Worker, hours: int) -> bool:
    """Whether what a worker logged last is dated by a clock that is off by so much."""
    shown = datetime.fromisoformat(worker.log_records[-1]["timestamp"])
    return abs(shown - datetime.now(UTC) - timedelta(hours=hours)) < timedelta(hours=1)


def with_clock(system: System, module: str, number: int, library: str, clock: Path) -> Worker:
    """Return a worker, started, that takes its time from a file; intervals stay true."""
    own = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": CACHE_SECONDS,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    worker = Worker(module, number, system.folder, system.environment | own)
    worker.start()
    return worker


class Dated:
    """Events whose own times are a little, and too much, ahead of the broker's."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._customer = min(trial.keys)
        self.too_late: set[str] = set()

    def send(self) -> None:
        """Send one of each to every partition."""
        asyncio.run(self._send())

    async def _send(self) -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=self._trial.bootstrap, acks="all", enable_idempotence=True
        ) as producer:
            for partition in range(PARTITIONS):
                for hours, worth in ((1, CREDITS), (36, None)):
                    event_id = str(uuid.uuid4())
                    value = self._event(event_id, hours, is_priced=worth is not None)
                    await producer.send_and_wait(self._trial.topics.raw, value, partition=partition)
                    name = f"dated-{event_id}"
                    usage = Usage(name, self._customer, frozenset({event_id}), worth)
                    self._trial.model.acknowledged([usage])
                    if worth is None:
                        self.too_late.add(event_id)

    def _event(self, event_id: str, hours_ahead: int, *, is_priced: bool) -> bytes:
        own_time = datetime.now(UTC) + timedelta(hours=hours_ahead)
        return orjson.dumps(
            {
                "event_id": event_id,
                "customer_id": self._customer,
                "event_type": "TOKEN_USAGE",
                "feature_id": "dated",
                "provider": "OPENAI",
                # The drain waits for letters of other models to replay themselves.
                "model": "gpt-4-turbo" if is_priced else MODEL_WITHOUT_PRICE,
                "input_tokens": 1000,
                "output_tokens": 500,
                "timestamp": own_time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )


def reasons(database_url: str, event_ids: set[str]) -> dict[str, str]:
    """Return why these events became dead letters."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            'SELECT lower(event_id), reason FROM "DeadLetter" WHERE lower(event_id) = ANY(%s)',
            [list(event_ids)],
        )
        return dict(rows.fetchall())


@pytest.mark.whole
@pytest.mark.timeout(1200)
def test_verdicts_do_not_know_the_workers_clocks(
    system: System, seed: int, faketime: str, tmp_path: Path
) -> None:
    """Two days ahead, two behind, jumping: duplicates and dates are judged as by a true clock."""
    jumps = itertools.cycle(random.Random(seed).sample(JUMPS_HOURS, k=len(JUMPS_HOURS)))
    system.environment["LOG_LEVEL"] = "DEBUG"
    load = Load(rest_seconds=0.03)
    with Trial(system, seed=seed, partitions=PARTITIONS, load=load) as trial:
        trial.prepare()
        clocks = [tmp_path / f"clock-{number}" for number in range(4)]
        for clock, hours in zip(clocks, (48, -48, -48, 48), strict=True):
            set_clock(clock, hours)
        system.streams += [
            with_clock(system, "streams", number, faketime, clocks[number]) for number in (0, 1)
        ]
        system.sinks += [
            with_clock(system, "sinks", number, faketime, clocks[2 + number]) for number in (0, 1)
        ]
        system.start(gateways=1, streams=0, sinks=0)
        trial.start_load()
        moves, dated = Moves(trial, PARTITIONS), Dated(trial)
        moves.begin()
        dated.send()

        def jump() -> None:
            for clock, worker in zip(clocks, (*system.streams, *system.sinks), strict=True):
                set_clock(clock, hours := next(jumps))
                wait_until(
                    lambda: has_jumped(worker, hours),  # noqa: B023 -- called at once
                    JUMP_TIMEOUT_SECONDS,
                    f"the clock of {worker.name} jumps by {hours} h",
                )
            dated.send()

        def crash() -> None:
            for clock, worker in zip(clocks, (*system.streams, *system.sinks), strict=True):
                worker.kill()
                set_clock(clock, next(jumps))
                worker.start()
            dated.send()

        for number in range(4):
            moves.make(f"clocks jump, {number}", jump)
        moves.make("all are killed, clocks jump", crash)
        moves.make("clocks jump once more", jump)
        system.require_all_running()
        trial.check()
        moves.require_known_after_each_move()
        found = reasons(trial.database_url, dated.too_late)
        assert found == dict.fromkeys(dated.too_late, "TIMESTAMP_OUT_OF_RANGE")
        days = {record["timestamp"][:10] for record in records_of(system.streams[0])}
        assert len(days) > 1, "no clock jumped"

"""Faults at random, from a seed that is printed: what is hurt, when, for how long, in what order.

    with Nemesis(scene, trial) as nemesis:
        for kinds in drawn(scene.rng, rounds=5):
            nemesis.play(kinds)

A round inflicts its faults one upon the other, holds them, and heals them all. Meanwhile ended
workers are started again, as a supervisor would. Then either the system is given the time to
recover, which is measured, or the next round follows at once. What happened when is in `history`,
which a failure prints.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import psycopg
from aiokafka.errors import KafkaError

from deploy.runtime.exit import ExitCode
from tests.crash.fault import Fault, Scene
from tests.crash.ledger import end_offsets
from tests.crash.server_faults import (
    CutAfterCommit,
    CutBeforeCommit,
    CutConnections,
    FlushRedis,
    FreezeKafka,
    FreezePostgres,
    KillKafka,
    KillPostgres,
    LoseRedis,
    RestartPostgres,
    RestoreOldRedis,
    StopKafka,
    TakeAllConnections,
)
from tests.crash.trial import Trial
from tests.crash.worker_faults import (
    Freeze,
    JoinAndLeave,
    KillGateway,
    KillSinks,
    KillStreams,
    Terminate,
)
from tests.waiting import wait_until

RECOVERY_TIMEOUT_SECONDS = 150.0
STRIKE_TIMEOUT_SECONDS = 60.0
STEP_SECONDS = 0.2
SHARE_MEASURED = 0.6
# What no restart helps against: a wrong setting, a decision that a person must take.
FATAL = {ExitCode.USAGE, ExitCode.REFUSED}

Kind = type[Fault]
OF_WORKERS: tuple[Kind, ...] = (
    KillGateway,
    KillStreams,
    KillSinks,
    Terminate,
    Freeze,
    JoinAndLeave,
)
OF_KAFKA: tuple[Kind, ...] = (StopKafka, KillKafka, FreezeKafka)
OF_REDIS: tuple[Kind, ...] = (FlushRedis, LoseRedis, RestoreOldRedis)
OF_POSTGRES: tuple[Kind, ...] = (
    RestartPostgres,
    KillPostgres,
    FreezePostgres,
    CutConnections,
    CutBeforeCommit,
    CutAfterCommit,
    TakeAllConnections,
)
# What is inflicted first is healed last: a COMMIT to cut needs all the others at work.
LAYERS = (OF_POSTGRES, OF_REDIS, OF_KAFKA, OF_WORKERS)
KINDS = tuple(kind for layer in LAYERS for kind in layer)

Round = Sequence[Kind]


def drawn(rng: random.Random, rounds: int) -> list[Round]:
    """Return rounds of which each takes one kind of each layer, no kind twice, while it lasts."""
    chosen = [rng.sample(layer, k=min(rounds, len(layer))) for layer in LAYERS]
    return [[layer[number] for layer in chosen if number < len(layer)] for number in range(rounds)]


def at_random(rng: random.Random) -> Iterator[Round]:
    """Yield rounds without end: all kinds in random order, each alone or upon another layer's."""
    for kind in one_by_one(rng):
        others = [layer for layer in LAYERS if kind not in layer]
        more = [rng.choice(layer) for layer in rng.sample(others, k=rng.choice((0, 0, 1, 2)))]
        yield sorted([kind, *more], key=KINDS.index)


def one_by_one(rng: random.Random) -> Iterator[Kind]:
    """Yield kinds without end: all in random order, then all in another."""
    while True:
        yield from rng.sample(KINDS, k=len(KINDS))


@dataclass(slots=True)
class Recovery:
    """How long after healing a round everything sent before was covered; seconds."""

    round_name: str
    seconds: float


@dataclass
class Nemesis:
    """Plays rounds of faults. A context manager: a failure inside gets the history."""

    scene: Scene
    trial: Trial
    history: list[str] = field(default_factory=list)
    inflicted: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)  # "streams 71": workers by exit code
    recoveries: list[Recovery] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._begun_at = time.monotonic()

    def play(self, kinds: Round, *, measured: bool | None = None) -> None:
        """Inflict, hold, heal, rest; `measured`: whether to wait for the recovery (None: maybe)."""
        rng = self.scene.rng
        faults = [kind(self.scene) for kind in kinds]
        with contextlib.ExitStack() as standing:
            for fault in faults:
                standing.callback(self._heal, fault)
                self._inflict(fault)
            seconds = max(rng.uniform(*fault.hold_seconds) for fault in faults)
            self.let_run(seconds, supervised=all(fault.is_supervised for fault in faults))
        if measured or (measured is None and rng.random() < SHARE_MEASURED):
            self.recover(" + ".join(kind.__name__ for kind in kinds))
        else:
            self.let_run(rng.uniform(0.0, 2.0))

    def let_run(self, seconds: float, *, supervised: bool = True) -> None:
        """Let the system run on for a while: the timing is the fault, no condition."""
        ends_at = time.monotonic() + seconds
        while (rest := ends_at - time.monotonic()) > 0:
            time.sleep(min(STEP_SECONDS, rest))
            if supervised:
                self.supervise()

    def recover(self, round_name: str) -> float:
        """Wait until everything that is in the log now is in the ledger; return the seconds."""
        begun_at = time.monotonic()
        ends = wait_until(self._ends, RECOVERY_TIMEOUT_SECONDS, "Kafka tells where its log ends")
        while not self._is_covered(ends):
            self.let_run(STEP_SECONDS)
            if time.monotonic() - begun_at > RECOVERY_TIMEOUT_SECONDS:
                raise AssertionError(f"stuck after {round_name}: {ends} is not covered")
        seconds = time.monotonic() - begun_at
        self.recoveries.append(Recovery(round_name, seconds))
        self._note(f"recovered in {seconds:.1f} s")
        return seconds

    def _ends(self) -> dict[int, int]:
        """Return where the log ends; nothing while a broker that was woken is not itself yet."""
        try:
            return asyncio.run(end_offsets(self.trial.bootstrap, self.trial.topics.raw))
        except KafkaError:
            return {}

    def supervise(self) -> None:
        """Start ended workers again; fail where no restart would help."""
        for worker in self.trial.system.workers:
            code = worker.exit_code
            if code is None or worker.pid is not None:
                continue
            self.ended[f"{worker.module} {code}"] += 1
            self._note(f"{worker.name} had ended with {code}")
            if code in FATAL:
                raise AssertionError(f"{worker.name} ended with {code}:\n{worker.last_words()}")
            worker.start()

    def report(self) -> str:
        """Return counts and times, for the log of the test."""
        lines = [f"faults {dict(self.inflicted)}", f"ended workers {dict(self.ended)}"]
        lines += [
            f"  recovered in {recovery.seconds:5.1f} s from {recovery.round_name}"
            for recovery in self.recoveries
        ]
        return "\n".join(lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            error.add_note("\n".join([f"CRASH_SEED={self.trial.seed}", *self.history]))

    def _inflict(self, fault: Fault) -> None:
        what = fault.inflict()
        self._note(f"{_name(fault)}: {what or 'nobody there'}")
        if what:
            self.inflicted[_name(fault)] += 1

    def _heal(self, fault: Fault) -> None:
        deadline = time.monotonic() + STRIKE_TIMEOUT_SECONDS
        while not fault.has_struck and time.monotonic() < deadline:
            self.let_run(STEP_SECONDS)
        self._note(f"{_name(fault)} healed: {fault.heal()}")

    def _is_covered(self, ends: dict[int, int]) -> bool:
        with psycopg.connect(self.trial.database_url) as connection:
            rows = connection.execute(
                'SELECT partition, next_offset FROM "SinkOffset" WHERE topic = %s',
                (self.trial.topics.raw,),
            ).fetchall()
        reached: dict[int, int] = dict(rows)
        return all(reached[partition] >= end for partition, end in ends.items())

    def _note(self, text: str) -> None:
        self.history.append(f"{time.monotonic() - self._begun_at:7.2f} {text}")


def _name(fault: Fault) -> str:
    return type(fault).__name__

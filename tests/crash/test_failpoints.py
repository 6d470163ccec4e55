"""Every step of both commit orders is a place to die, or to freeze; the claim holds after each.

A worker is started under `tests/faulty.py` with one failpoint and hits it; its partitions go on,
elsewhere or with it when it comes back. Then the ledger must equal the model and the audit find
nothing. The points come from the code's own lists of steps, and the hits are counted: each once.
"""

import random
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator

import psycopg
import pytest

from deploy.runtime.exit import ExitCode
from tests.crash.failpoints import freezes, kills, pairs
from tests.crash.trial import Trial
from tests.crash.workload import Load
from tests.faulty import TABLES, Failpoint, steps_of
from tests.system import System, Worker
from tests.waiting import wait_until

LIGHT_LOAD = Load(posts=0, producers=1, rest_seconds=0.1)
HIT_SECONDS = 180.0
# A supervisor is quick after this share of the kills; else the other worker goes on alone until the
# dead one comes back for the next failpoint.
SHARE_RESTARTED = 0.5
# What is chosen by the seed comes beside these.
ALWAYS = (
    "sinks:commit:after:1:kill",
    "streams:await_acknowledgement:middle:2:kill",
    "sinks:UsageEvent:middle:2:zombie",
)


class Matrix:
    """A trial whose workers are armed, a strike after the other, and what was hit."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._system = trial.system
        self._rng = random.Random(trial.seed)
        self._struck: Counter[str] = Counter()

    def strike(self, *points: Failpoint) -> None:
        """Let a worker hit each point, one per process; then hold the claim."""
        began = time.monotonic()
        armed = [(point, self._arm(point)) for point in points]
        for point, victim in armed:
            self._struck[str(point)] += 1
            self._wait_until_hit(point, victim)
        before, hit = self._positions(), time.monotonic()
        if self._rng.random() < SHARE_RESTARTED:
            self._system.restart_ended()
        self._wait_until_all_go_on(before)
        gone_on = time.monotonic()
        for point, victim in armed:
            if point.action != "kill":
                self._wake(point, victim)
        self._trial.check(log=False, restart=False)
        print(
            *points,
            f"hit in {hit - began:.1f} s, all go on in {gone_on - hit:.1f} s,"
            f" checked in {time.monotonic() - gone_on:.1f} s",
            flush=True,
        )

    def finish(self) -> None:
        """Audit the logs, too, and compare what was hit with what should have been."""
        self._trial.check()
        hits = Counter(self._system.sinks[0].hits_path.read_text().splitlines())
        assert hits == self._struck
        assert set(hits.values()) == {1}
        print(f"failpoints {len(hits)}, deliveries {self._trial.model.sent.total()}")

    def _arm(self, point: Failpoint) -> Worker:
        workers = {"sinks": self._system.sinks, "streams": self._system.streams}[point.process]
        ended = [worker for worker in workers if worker.pid is None]
        victim = self._rng.choice(ended or workers)
        victim.stop()
        victim.arm(str(point))
        victim.start()
        return victim

    def _wait_until_hit(self, point: Failpoint, victim: Worker) -> None:
        hits = victim.hits_path

        def is_hit() -> bool:
            has_ended = victim.pid is None
            if hits.exists() and str(point) in hits.read_text().splitlines():
                return True
            if has_ended:
                raise AssertionError(f"missed {point}: {victim.exit_code}\n{victim.last_words()}")
            return False

        wait_until(is_hit, HIT_SECONDS, f"{point} is hit")
        if point.action == "kill":
            wait_until(lambda: victim.pid is None, HIT_SECONDS, f"{victim.name} is dead")
            assert victim.exit_code == -signal.SIGKILL
        elif point.step in TABLES:
            wait_until(lambda: self._is_copying(point.step), HIT_SECONDS, "Postgres has the half")

    def _is_copying(self, table: str) -> bool:
        """Whether a frozen worker's COPY has brought some bytes and waits for the rest."""
        with psycopg.connect(self._trial.database_url) as connection:
            row = connection.execute(
                "SELECT 1 FROM pg_stat_progress_copy JOIN pg_stat_activity USING (pid)"
                " WHERE relid = %s::regclass AND bytes_processed > 0 AND wait_event = 'ClientRead'",
                (f'"{table}"',),
            ).fetchone()
        return row is not None

    def _wait_until_all_go_on(self, before: dict[int, int]) -> None:
        """Wait until events of each partition are charged beyond where it stood."""
        wait_until(
            lambda: all(now > before[one] for one, now in self._positions().items()),
            HIT_SECONDS,
            "all partitions go on",
        )

    def _wake(self, point: Failpoint, victim: Worker) -> None:
        assert victim.pid is not None
        victim.resume()
        if point.action == "stop":
            wait_until(lambda: victim.pid is None, HIT_SECONDS, f"the watchdog ends {victim.name}")
            assert victim.exit_code == ExitCode.STALLED

    def _positions(self) -> dict[int, int]:
        with psycopg.connect(self._trial.database_url) as connection:
            rows = connection.execute('SELECT partition, next_offset FROM "SinkOffset"')
            return dict(rows.fetchall())


def strike_all(system: System, seed: int, strikes: Iterable[tuple[Failpoint, ...]]) -> None:
    """Run one system through all strikes."""
    with Trial(system, seed=seed, load=LIGHT_LOAD) as trial:
        trial.start(gateways=0, streams=2, sinks=2)
        matrix = Matrix(trial)
        for points in strikes:
            matrix.strike(*points)
        matrix.finish()


def shuffled(rng: random.Random, points: Iterable[Failpoint]) -> Iterator[tuple[Failpoint]]:
    """Return the points one by one, in a random order."""
    found = [(point,) for point in points]
    rng.shuffle(found)
    return iter(found)


@pytest.mark.timeout(600)
def test_a_few_failpoints(system: System, seed: int) -> None:
    """Killed after COMMIT, with a send under way, frozen in a COPY, and where the seed says."""
    rng = random.Random(seed)
    always = [Failpoint.parse(text) for text in ALWAYS]
    # Each point is hit once, or a hit could pass for another's.
    drawn = rng.choice([pair for pair in pairs(rng) if not set(pair) & set(always)])
    strike_all(system, seed, [*((point,) for point in always), drawn])


@pytest.mark.whole
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("process", ["streams", "sinks"])
def test_killed_at_each_step(system: System, seed: int, process: str) -> None:
    """SIGKILL before, in and after each step, at the first and at a later pass."""
    rng = random.Random(seed)
    strike_all(system, seed, shuffled(rng, kills(rng, process)))


@pytest.mark.whole
@pytest.mark.timeout(3600)
def test_frozen_in_the_middle(system: System, seed: int) -> None:
    """SIGSTOP in each COPY and around the commit: others go on, what wakes doubles nothing."""
    strike_all(system, seed, shuffled(random.Random(seed), freezes()))


@pytest.mark.whole
@pytest.mark.timeout(3600)
def test_killed_in_pairs(system: System, seed: int) -> None:
    """A streams and a sinks worker die together, at each streams step and a random one of sinks."""
    strike_all(system, seed, pairs(random.Random(seed)))


def test_points_are_the_code_s_own_steps() -> None:
    """Each step of both orders is in the matrix, before and after, and each table's COPY."""
    rng = random.Random(0)
    for process in ("streams", "sinks"):
        found = {(point.step, point.moment) for point in kills(rng, process)}
        wanted = {(s, m) for m in ("before", "middle", "after") for s in steps_of(process, m)}
        assert found == wanted
    tables = set(steps_of("sinks", "middle"))
    assert {"UsageEvent", "CreditTransaction", "DeadLetter", "RatedBatch"} < tables
    assert {"lock_offsets", "commit", "acknowledge"} < set(steps_of("sinks", "after"))
    assert {"fold", "send", "remember"} < set(steps_of("streams", "after"))


@pytest.mark.parametrize(
    "text",
    [
        "sinks:commit:after:1",
        "gateway:commit:after:1:kill",
        "sinks:comit:after:1:kill",
        "sinks:commit:middle:1:kill",
        "streams:commit:after:1:kill",
        "sinks:UsageEvent:before:1:kill",
        "sinks:commit:during:1:kill",
        "sinks:commit:after:0:kill",
        "sinks:commit:after:soon:kill",
        "sinks:commit:after:1:hug",
    ],
)
def test_a_failpoint_that_cannot_be_hit_is_refused(text: str) -> None:
    """A misspelt point ends the program at once: it would never be hit."""
    with pytest.raises(ValueError, match=r".+"):
        Failpoint.parse(text)


def test_a_failpoint_reads_as_it_is_written() -> None:
    """Text, point, the same text."""
    for text in ALWAYS:
        assert str(Failpoint.parse(text)) == text

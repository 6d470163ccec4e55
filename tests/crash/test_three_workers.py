"""Three workers each: they join, leave and are killed, and the partitions move between them.

After each change every partition has one owner, who knew what was charged before he wrote: see
tests/crash/moves.py. At the end the ledger equals the model and the audit is clean.
"""

import pytest

from tests.crash.moves import Moves, folds_before_writes, table
from tests.crash.trial import Trial
from tests.crash.workload import Load
from tests.system import System
from tests.waiting import wait_until

SHORT_SESSION_SECONDS = "4"
USAGES_TO_FOLD = 5_000


def require_moved_whole(moves: Moves) -> None:
    """Hold the claim, and what must be true of every partition that moved."""
    moves.trial.check()
    moves.require_known_after_each_move()
    found = [folds_before_writes(worker) for worker in moves.trial.system.streams]
    assert all(folds > 0 for folds, _ in found)
    assert [fault for _, faults in found for fault in faults] == []


@pytest.mark.timeout(300)
def test_partitions_move_with_what_was_seen(system: System, seed: int) -> None:
    """1 -> 3 workers, one less by SIGTERM, one less by kill -9: nothing is forgotten."""
    system.environment |= {"LOG_LEVEL": "DEBUG", "SESSION_TIMEOUT_SECONDS": SHORT_SESSION_SECONDS}
    load = Load(posts=0, producers=2, rest_seconds=0.05)
    with Trial(system, seed=seed, partitions=6, load=load) as trial:
        trial.start(gateways=0, streams=1, sinks=1)
        moves = Moves(trial, partitions=6)
        moves.begin()

        def leave() -> None:
            for worker in (system.streams[0], system.sinks[0]):
                worker.terminate()
            for worker in (system.streams[0], system.sinks[0]):
                worker.stop()

        def crash() -> None:
            system.streams[1].kill()
            system.sinks[1].stop()

        moves.make("two more join", lambda: system.start(gateways=0, streams=2, sinks=2))
        moves.make("one is asked to end", leave)
        moves.make("one is killed", crash)
        require_moved_whole(moves)


@pytest.mark.whole
@pytest.mark.timeout(1800)
def test_how_long_partitions_stand_still(system: System, seed: int) -> None:
    """Every way to join and leave, under load, at the usual settings: a table of the pauses."""
    system.environment |= {"LOG_LEVEL": "DEBUG"}
    load = Load(posts=4, producers=2, rest_seconds=0.02)
    with Trial(system, seed=seed, partitions=8, load=load) as trial:
        trial.start(gateways=1, streams=1, sinks=1)
        wait_until(lambda: len(trial.model.usages) > USAGES_TO_FOLD, 120, "there is what to fold")
        moves = Moves(trial, partitions=8)
        moves.begin()
        moves.make("streams: the 2nd joins", lambda: system.start(gateways=0, streams=1, sinks=0))
        moves.make("streams: the 3rd joins", lambda: system.start(gateways=0, streams=1, sinks=0))
        moves.make("sinks: the 2nd joins", lambda: system.start(gateways=0, streams=0, sinks=1))
        moves.make("sinks: the 3rd joins", lambda: system.start(gateways=0, streams=0, sinks=1))
        for worker in (system.streams[0], system.sinks[0]):
            moves.make(f"{worker.module}: one ends (SIGTERM)", worker.stop)
            moves.make(f"{worker.module}: it is back", worker.start)
        for worker in (system.streams[1], system.sinks[1]):
            moves.make(f"{worker.module}: one dies (kill -9)", worker.kill)
            moves.make(f"{worker.module}: it is back", worker.start)
        require_moved_whole(moves)
        print(table(moves))

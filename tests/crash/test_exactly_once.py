"""The claim of the project, tested as a whole: gateways, streams and sinks are killed with -9.

Main phase: load with a fifth of duplicates over both doors, two workers of each process, kills in
random order. Final read: everything sent is covered by the sinks. Then the ledger must equal the
model, and `burnstream audit` must find nothing.
"""

import random
import re

import pytest

from tests.crash.fault import Scene
from tests.crash.nemesis import Nemesis
from tests.crash.trial import Trial
from tests.crash.worker_faults import KillGateway, KillSinks, KillStreams
from tests.system import System, Worker
from tests.waiting import wait_until

KINDS = (KillGateway, KillStreams, KillSinks)
KILLS_PER_PROCESS = 3

CONTRADICTION = "The ledger contradicts itself"
_PROVEN = re.compile(r"^burnstream_sinks_audited_events_total [1-9]", re.MULTILINE)


def _proves(sink: Worker) -> bool:
    return sink.pid is not None and _PROVEN.search(sink.metrics()) is not None


@pytest.mark.whole
@pytest.mark.timeout(480)
def test_ledger_equals_the_model_through_kills(system: System, seed: int) -> None:
    """Nothing lost, nothing doubled, no cent astray, and the audit agrees."""
    system.environment["AUDIT_SECONDS"] = "1"
    scene = Scene(system, None, None, random.Random(seed))
    with Trial(system, seed=seed) as trial, Nemesis(scene, trial) as nemesis:
        trial.start(gateways=2, streams=2, sinks=2)
        for kind in scene.rng.sample(KINDS * KILLS_PER_PROCESS, k=len(KINDS) * KILLS_PER_PROCESS):
            nemesis.play([kind], measured=False)
        trial.check()
        wait_until(
            lambda: any(map(_proves, system.sinks)), 30, "the sinks' own audit has proven some"
        )
    # Behind transactions that died at any moment it saw nothing that was not so.
    assert [one.name for one in system.sinks if CONTRADICTION in one.log_path.read_text()] == []
    model = trial.model
    print(
        f"usages {len(model.usages)}, deliveries {model.sent.total()}, "
        f"answers lost or refused {trial.workload.refused_answers}\n{nemesis.report()}"
    )

    # The faults and the duplicates were really there.
    assert min(nemesis.inflicted[kind.__name__] for kind in KINDS) == KILLS_PER_PROCESS
    assert model.sent.total() > len(model.usages) > 0

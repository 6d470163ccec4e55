"""The claim of the project, tested as a whole: gateways, streams and sinks are killed with -9.

Main phase: load with a fifth of duplicates over both doors, two workers of each process, kills in
random order. Final read: everything sent is covered by the sinks. Then the ledger must equal the
model, and `burnstream audit` must find nothing.
"""

import pytest

from tests.crash.nemesis import Nemesis
from tests.crash.trial import Trial
from tests.system import System

KILLS_PER_PROCESS = 3
PAUSE_SECONDS_MAX = 4.0


@pytest.mark.timeout(480)
def test_ledger_equals_the_model_through_kills(system: System, seed: int) -> None:
    """Nothing lost, nothing doubled, no cent astray, and the audit agrees."""
    with Trial(system, seed=seed) as trial:
        trial.start(gateways=2, streams=2, sinks=2)
        nemesis = Nemesis(seed, system)
        nemesis.kill_and_restart(KILLS_PER_PROCESS, PAUSE_SECONDS_MAX)
        trial.check()
    model = trial.model
    print(
        f"usages {len(model.usages)}, deliveries {model.sent.total()}, "
        f"kills {dict(nemesis.kills)}, answers lost or refused {trial.workload.refused_answers}"
    )

    # The faults and the duplicates were really there.
    assert min(nemesis.kills[kind] for kind in ("gateway", "streams", "sinks")) >= KILLS_PER_PROCESS
    assert model.sent.total() > len(model.usages) > 0

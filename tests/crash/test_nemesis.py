"""The claim against faults of every kind: processes, Kafka, Postgres, Redis, alone and together.

Main phase: load with duplicates over both doors and in transactions, faults in an order drawn from
the seed. Final read: everything sent is covered by the sinks. Then the ledger must equal the model,
and `burnstream audit --log` must find nothing.
"""

import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from deploy.local.servers import LocalServers
from sinks.migrations import migrate
from tests.crash.fault import Scene
from tests.crash.kafka_door import Ending
from tests.crash.nemesis import KINDS, Nemesis, at_random, drawn
from tests.crash.postgres_proxy import PostgresProxy
from tests.crash.trial import Trial
from tests.crash.workload import Load
from tests.system import System

LOAD = Load(posts=2, producers=2, transactional=2, rest_seconds=0.1)
ROUNDS = 5
LONG_SECONDS = 300.0
SECONDS_BETWEEN_CHECKS = 100.0


@pytest.fixture(scope="module")
def battered_servers() -> Iterator[LocalServers]:
    """Servers of this file alone: other tests need theirs whole."""
    with tempfile.TemporaryDirectory(prefix="burnstream-nemesis-") as folder:
        Path(folder).chmod(0o755)
        with LocalServers(Path(folder), kafka_port=0, postgres_port=0, redis_port=0) as servers:
            yield servers


@pytest.fixture
def scene(
    battered_servers: LocalServers, tmp_path: Path, topic_prefix: str, seed: int
) -> Iterator[Scene]:
    """A system whose way to Postgres leads through the proxy."""
    postgres = battered_servers.postgres
    assert postgres is not None
    name = f"nemesis_{time.time_ns()}"
    with psycopg.connect(postgres.url_of("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    database_url = postgres.url_of(name)
    migrate(database_url)
    with PostgresProxy(database_url) as proxy:
        environment = battered_servers.addresses.environment() | {
            "DATABASE_URL": proxy.url,
            "TOPIC_PREFIX": topic_prefix,
            "RATE_LIMIT_MAX": "0",
            "SESSION_TIMEOUT_SECONDS": "6",
        }
        yield Scene(System(tmp_path, environment), battered_servers, proxy, random.Random(seed))


@pytest.mark.timeout(600)
def test_ledger_equals_the_model_through_faults_upon_faults(scene: Scene, seed: int) -> None:
    """Nothing lost, nothing doubled, no cent astray, nothing aborted charged; the audit agrees."""
    with (
        Trial(scene.system, seed=seed, load=LOAD) as trial,
        Nemesis(scene, trial) as nemesis,
    ):
        trial.start(gateways=2, streams=2, sinks=2)
        nemesis.recover("the start")
        rounds = drawn(scene.rng, ROUNDS)
        for kinds in rounds:
            nemesis.play(kinds, measured=False)
        nemesis.recover("all of it")
        trial.check()
        _tell(trial, nemesis)

        assert nemesis.inflicted == Counter(kind.__name__ for kinds in rounds for kind in kinds)
        # A zombie that woke was ended, unless something else ended it first.
        ended_zombies = nemesis.ended["streams 71"] + nemesis.ended["sinks 71"]
        assert not scene.zombies or ended_zombies >= 1
        assert trial.model.sent.total() > len(trial.model.usages) > 0


@pytest.mark.whole
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("number", [1, 2])
def test_ledger_equals_the_model_through_minutes_of_faults(
    scene: Scene, seed: int, number: int
) -> None:
    """Eight partitions, workers 1, 3, 1, faults at random: the claim holds whenever one looks."""
    scene.rng.seed(seed + number)
    with (
        Trial(scene.system, seed=seed + number, partitions=8, load=LOAD) as trial,
        Nemesis(scene, trial) as nemesis,
    ):
        trial.start(gateways=2, streams=1, sinks=1)
        nemesis.recover("the start")
        ends_at = time.monotonic() + LONG_SECONDS
        looks_at = time.monotonic() + SECONDS_BETWEEN_CHECKS
        for number_played, kinds in enumerate(at_random(scene.rng)):
            # So many rounds begin with each kind once.
            if number_played >= len(KINDS) and time.monotonic() > ends_at:
                break
            nemesis.play(kinds)
            if time.monotonic() > looks_at:
                trial.check()
                looks_at = time.monotonic() + SECONDS_BETWEEN_CHECKS
        trial.check()
        _tell(trial, nemesis)

        assert set(nemesis.inflicted) == {kind.__name__ for kind in KINDS}
        assert min(trial.workload.endings[ending] for ending in Ending) >= 1


def _tell(trial: Trial, nemesis: Nemesis) -> None:
    model, workload = trial.model, trial.workload
    print(
        f"usages {len(model.usages)}, deliveries {model.sent.total()}, "
        f"transactions {dict(workload.endings)}, "
        f"answers lost or refused {workload.refused_answers}\n{nemesis.report()}"
    )

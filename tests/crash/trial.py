"""One trial: a system under load, whatever is done to it, and the claim held against it.

    with Trial(system, seed=seed) as trial:
        trial.start(gateways=1, streams=2, sinks=2)   # topics, prices, customers, workers, load
        system.streams[0].kill()                      # the faults
        trial.check()                                 # the claim; as often as one likes

`check` is the final read: the load pauses once all it has begun is acknowledged, ended workers are
started again, the sinks cover everything, and then the ledger must equal the model, `burnstream
audit` must find nothing, and `usage.burns` must obey its law. Afterwards the load goes on.
"""

import os
import random
from types import TracebackType
from typing import Self

import psycopg

from schemas.topics import Topics
from sinks.audit import audit
from tests.crash.burns import burn_faults
from tests.crash.checker import faults, summary
from tests.crash.ledger import create_customers, is_drained, read_ledger
from tests.crash.model import Model
from tests.crash.workload import Load, Workload
from tests.system import System
from tests.waiting import wait_until

PARTITIONS = 4
DRAIN_TIMEOUT_SECONDS = 180.0


def chosen_seed() -> int:
    """Return CRASH_SEED, or a new seed; printed, so that a failure can be played again."""
    seed = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(2**32)))
    print(f"seed: CRASH_SEED={seed}")
    return seed


class Trial:
    """A system, its load and its model. A context manager: ends both."""

    def __init__(
        self, system: System, *, seed: int, partitions: int = PARTITIONS, load: Load | None = None
    ) -> None:
        self.system = system
        self.seed = seed
        self.bootstrap = system.environment["KAFKA_BOOTSTRAP_SERVERS"]
        self.database_url = system.environment["DATABASE_URL"]
        self.topics = Topics(system.environment["TOPIC_PREFIX"])
        self.keys: dict[str, str] = {}  # customer -> API key
        self.checks = 0
        self._partitions = partitions
        self._load = load or Load()
        self._workload: Workload | None = None

    @property
    def workload(self) -> Workload:
        """The load, once started."""
        if self._workload is None:
            raise AssertionError("the load has not been started")
        return self._workload

    @property
    def model(self) -> Model:
        """What was sent and acknowledged so far."""
        return self.workload.model

    def prepare(self) -> None:
        """Make topics, prices and customers."""
        self.system.prepare(self._partitions)
        self.keys = create_customers(self.database_url)

    def start(self, *, gateways: int = 1, streams: int = 1, sinks: int = 1) -> None:
        """Prepare, start that many workers, and the load upon them."""
        self.prepare()
        self.system.start(gateways=gateways, streams=streams, sinks=sinks)
        self.start_load()

    def start_load(self) -> None:
        """Begin to send; straight to Kafka only, where there is no gateway."""
        gateway_url = self.system.gateway_url if self.system.gateways else None
        self._workload = Workload(
            self.seed, gateway_url, self.bootstrap, self.topics.raw, self.keys, self._load
        )
        self._workload.start()

    def drain(self, *, restart: bool = True) -> None:
        """Pause the load and wait until the sinks have covered everything acknowledged."""

        def has_drained() -> bool:
            if restart:
                self.system.restart_ended()
            return is_drained(self.bootstrap, self.database_url, self.topics.raw)

        if restart:
            self.system.restart_ended()
        self.workload.pause(DRAIN_TIMEOUT_SECONDS)
        wait_until(has_drained, DRAIN_TIMEOUT_SECONDS, "the sinks have covered everything sent")

    def check(self, *, log: bool = True, restart: bool = True) -> None:
        """Hold the claim against the ledger as it is once everything sent has arrived."""
        self.drain(restart=restart)
        self.compare(log=log)
        self.checks += 1
        self.workload.go_on()

    def compare(self, *, log: bool = True) -> None:
        """Compare a drained ledger with the model, and audit it; with the logs, where wanted."""
        found = faults(self.model, read_ledger(self.database_url))
        if found:
            raise AssertionError(f"CRASH_SEED={self.seed}\n{summary(found)}")
        if not log:
            with psycopg.connect(self.database_url, autocommit=True) as connection:
                report = audit(connection)
            assert report.is_clean, f"CRASH_SEED={self.seed}\n{report.discrepancies}"
            return
        command = self.system.burnstream("audit", "--log", check=False)
        if command.returncode != 0:
            raise AssertionError(f"CRASH_SEED={self.seed}\n{command.stdout}\n{command.stderr}")
        if any(worker.pid is not None for worker in self.system.streams):
            found = burn_faults(
                self.bootstrap, self.topics.rated, self.topics.burns, self.database_url
            )
            assert not found, f"CRASH_SEED={self.seed}\n{summary(found)}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._workload is not None:
            self._workload.abandon()
        self.system.stop()
        if error is not None and self.system.workers:
            self.system.keep_logs(f"{self.system.folder.parent.name}-{self.system.folder.name}")

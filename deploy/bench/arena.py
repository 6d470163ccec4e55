"""Servers of a series of measurements; topics, a database and workers for each run.

with Arena.open(Given(), progress) as arena, arena.course(workload) as course:
    course.write(workload)
    worker = course.start("streams")
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
from aiokafka import TopicPartition

from deploy.bench import kafka_log
from deploy.bench.workload import PARTITIONS, Making, Outcome, Workload
from deploy.local.local_server import tethered
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.progress import Progress
from deploy.local.servers import DEFAULT_DATA_FOLDER, REPOSITORY, LocalServers
from deploy.runtime.exit import ExitCode
from gateway.auth import hash_of
from schemas.topics import Topics

TIMEOUT_SECONDS = 1_800.0
STOP_TIMEOUT_SECONDS = 30.0
POLL_INTERVAL_SECONDS = 0.05
LOG_TAIL_LINES = 30
OPENING_BALANCE = 10**15
PRICE_MODELS = 1_000
ARTEFACTS = REPOSITORY / "test-artefacts" / "bench"


class MeasurementError(Exception):
    """A measurement came to nothing, or what was measured did the work wrongly."""


@dataclass(frozen=True, slots=True)
class Given:
    """Servers that run already; those not given are started. `code`: what is measured."""

    kafka_bootstrap: str | None = None
    database_url: str | None = None
    redis_url: str | None = None
    code: Path = REPOSITORY


@dataclass(slots=True)
class Arena:
    """Servers, and where they and the workers keep their files."""

    servers: LocalServers
    folder: Path
    code: Path
    progress: Progress
    _template: str = ""

    @classmethod
    @contextlib.contextmanager
    def open(cls, given: Given, progress: Progress) -> "Iterator[Arena]":
        """Start the servers that are not given; stop them in the end, on SIGTERM, too."""
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.FAILED))
        with tempfile.TemporaryDirectory(prefix="burnstream-bench-") as name:
            folder = Path(name)
            folder.chmod(0o755)  # Root's Postgres runs as another user.
            servers = LocalServers(
                folder / "servers",
                kafka_port=0,
                postgres_port=0,
                redis_port=0,
                kafka_bootstrap=given.kafka_bootstrap,
                database_url=given.database_url,
                redis_url=given.redis_url,
                software_dir=DEFAULT_DATA_FOLDER,
                progress=progress,
            )
            with servers:
                arena = cls(servers, folder, given.code.resolve(), progress)
                try:
                    yield arena
                finally:
                    arena.drop_database(arena._template)
                    signal.signal(signal.SIGTERM, before)

    @contextlib.contextmanager
    def course(self, customers: Sequence[str], *, database: str = "") -> "Iterator[Course]":
        """Make topics and a database with customers for one run; clear them away afterwards.

        A database that is given by its name has its customers, and stays.
        """
        name = database or self.make_database(customers)
        course = Course(self, f"b{uuid.uuid4().hex[:10]}-", self.database_url(name))
        try:
            course.folder.mkdir()
            course.burnstream("topics", "--partitions", str(PARTITIONS))
            yield course
        except BaseException:
            course.keep_logs()
            raise
        finally:
            course.stop()
            asyncio.run(kafka_log.delete_topics(self.servers.kafka_bootstrap, course.prefix))
            if not database:
                self.drop_database(name)
            shutil.rmtree(course.folder, ignore_errors=True)

    def make_database(self, customers: Sequence[str]) -> str:
        """Make a migrated database with prices, customers and their wallets; return its name."""
        if not self._template:
            self._template = self._create_database("template0")
            course = Course(self, "", self.database_url(self._template))
            course.folder.mkdir(exist_ok=True)
            course.burnstream("migrate")
            course.burnstream("seed")
        name = self._create_database(self._template)
        with psycopg.connect(self.database_url(name), autocommit=True) as connection:
            connection.execute(
                'INSERT INTO "Customer" (id, name, email, api_key_hash)'
                " SELECT id, id, id || '@bench.example', hash"
                " FROM unnest(%s::text[], %s::text[]) AS customer (id, hash)",
                [list(customers), [hash_of(api_key(one)) for one in customers]],
            )
            connection.execute(
                'INSERT INTO "CreditWallet" (id, customer_id, balance)'
                " SELECT 'wallet_' || id, id, %s FROM unnest(%s::text[]) AS id",
                [OPENING_BALANCE, list(customers)],
            )
            connection.execute("VACUUM ANALYZE")
        return name

    def database_url(self, name: str) -> str:
        """Return the URL of a database on this server."""
        return urlsplit(self.servers.database_url)._replace(path=f"/{name}").geturl()

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        if name:
            with psycopg.connect(self.servers.database_url, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())

    def server_pids(self) -> dict[str, int]:
        """Return the processes of the servers that were started here."""
        servers = {
            "kafka": self.servers.kafka,
            "postgres": self.servers.postgres,
            "redis": self.servers.redis,
        }
        return {
            name: one.pid
            for name, one in servers.items()
            if one is not None and one.pid is not None
        }

    def _create_database(self, template: str) -> str:
        name = f"bench_{uuid.uuid4().hex[:10]}"
        with psycopg.connect(self.servers.database_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return name


class Worker:
    """One process under measurement."""

    def __init__(
        self, name: str, command: list[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        self.started_at = time.time()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                tethered(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,  # away from a developer's .env
                env=dict(environment),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def process(self) -> psutil.Process:
        """The process, for questions about it."""
        return psutil.Process(self.pid)

    def require_running(self) -> None:
        """Raise MeasurementError, with the end of the log, if it has ended."""
        if self._process.poll() is not None:
            lines = self.log_path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
            words = "\n".join(lines)
            raise MeasurementError(f"{self.name} ended with {self._process.returncode}:\n{words}")

    def stop(self) -> None:
        """Ask it to end, and kill it when it does not in time."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is None:
                self._process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_TIMEOUT_SECONDS)


@dataclass(slots=True)
class Course:
    """What one run works with; no other run sees it."""

    arena: Arena
    prefix: str
    database_url: str
    workers: list[Worker] = field(default_factory=list)
    port: int = field(default_factory=free_port)

    @property
    def bootstrap(self) -> str:
        """`host:port` of Kafka."""
        return self.arena.servers.kafka_bootstrap

    @property
    def topics(self) -> Topics:
        """Names of this run's topics."""
        return Topics(self.prefix)

    @property
    def folder(self) -> Path:
        """Where workers log and keep their state."""
        return self.arena.folder / (self.prefix or "setup")

    @property
    def environment(self) -> dict[str, str]:
        """What our processes read."""
        return os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.arena.servers.redis_url or "redis://127.0.0.1:1/0",
            "TOPIC_PREFIX": self.prefix,
            "STATE_DIR": str(self.folder / "state"),
            "METRICS_PORT": str(free_port()),
            "HOST": LOOPBACK,
            "PORT": str(self.port),
            "RATE_LIMIT_MAX": "0",
            "LOG_FORMAT": "json",
            "PYTHONPATH": str(self.arena.code),
        }

    def write(self, workload: Workload) -> Outcome:
        """Write the records to `usage.raw`; return what must become of them."""
        self.arena.progress.say(f"  write {workload.events:,} events to Kafka")
        making = Making(workload)
        asyncio.run(kafka_log.write(self.bootstrap, self.topics.raw, making.records()))
        return making.outcome

    def start(self, module: str) -> Worker:
        """Start `python -m MODULE`, one of our processes."""
        return self.run(module, [sys.executable, "-m", module], self.environment)

    def run(self, name: str, command: list[str], environment: Mapping[str, str]) -> Worker:
        """Start any program as a worker of this run."""
        worker = Worker(name, command, self.folder, environment)
        self.workers.append(worker)
        return worker

    def burnstream(self, *arguments: str) -> None:
        """Run a command of the code under measurement. Raises MeasurementError."""
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment,
            check=False,
        )
        if done.returncode != 0:
            raise MeasurementError(f"burnstream {arguments[0]}: {done.stdout}{done.stderr}")

    def wait_until(
        self, condition: Callable[[], bool], what: str, interval: float = POLL_INTERVAL_SECONDS
    ) -> None:
        """Wait for a condition while every worker runs. Raises MeasurementError."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not condition():
            for worker in self.workers:
                worker.require_running()
            if time.monotonic() > deadline:
                raise MeasurementError(f"{what}: not within {TIMEOUT_SECONDS:.0f} s")
            time.sleep(interval)

    def publish_prices(self, extra_rows: int = 0) -> None:
        """Let a sinks worker publish the price list, so many rows longer; it ends then."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(
                'INSERT INTO "ProviderCost" (id, provider, model, cost_type, cost_per_unit,'
                " unit_size, valid_from)"
                " SELECT 'bench-' || n, 'OPENAI', 'bench-' || n %% %s,"
                " CASE n / %s %% 2 WHEN 0 THEN 'INPUT_TOKEN' ELSE 'OUTPUT_TOKEN' END,"
                " 1 + n %% 7, 1000000, '2020-01-01Z'::timestamptz + n / 2000 * interval '30 days'"
                " FROM generate_series(0, %s - 1) AS n",
                [PRICE_MODELS, PRICE_MODELS, extra_rows],
            )
            (rows,) = connection.execute('SELECT count(*) FROM "ProviderCost"').fetchone() or (0,)
        prices = TopicPartition(self.topics.prices, 0)
        worker = self.start("sinks")
        self.wait_until(
            lambda: asyncio.run(kafka_log.ends(self.bootstrap, [prices]))[prices] > rows,
            "prices are published",
            0.2,
        )
        self.stop_worker(worker)

    def stop_worker(self, worker: Worker) -> None:
        """End a worker."""
        worker.stop()
        self.workers.remove(worker)

    def keep_logs(self) -> None:
        """Copy the workers' logs to where a failed run is looked into."""
        kept = ARTEFACTS / self.prefix
        kept.mkdir(parents=True, exist_ok=True)
        for log in self.folder.glob("*.log"):
            shutil.copy(log, kept)

    def stop(self) -> None:
        """End every worker."""
        for worker in self.workers:
            worker.stop()
        self.workers.clear()


def api_key(customer: str) -> str:
    """Return the key of a customer of the measurements."""
    return f"om_test_{customer.encode().hex():0>48}"

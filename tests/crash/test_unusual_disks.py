"""A full disk under Kafka, and under Postgres: everything waits, and goes on when there is room.

The data lie on a small tmpfs, which only root may mount; skipped elsewhere.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from deploy.local.ports import CannotStart
from deploy.local.servers import LocalServers
from sinks.migrations import migrate
from tests.crash.one_event import OneEvent
from tests.crash.trial import Trial
from tests.crash.workload import Load
from tests.system import System, Worker
from tests.waiting import wait_until

DISK_BYTES = 320 << 20
DISK_FULL = "53100"
LOAD = Load(posts=3, producers=2, rest_seconds=0.01)


class Disk:
    """A small file system that a test fills and empties."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Take what room is left."""
        with self._ballast.open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(1 << 16))
            except OSError:
                return

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """Mount a tmpfs on a folder."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=755", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small disk needs root: it is a tmpfs")
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def servers_on(folder: Path, small: str) -> Iterator[tuple[LocalServers, Disk]]:
    """Run servers of our own, the data of one of them on a small disk."""
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(folder / small))
        servers = LocalServers(folder, kafka_port=0, postgres_port=0, redis_port=0)
        try:
            stack.enter_context(servers)
        except CannotStart as reason:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no servers on this machine: {reason}")
        yield servers, disk


def system_on(servers: LocalServers, folder: Path) -> System:
    """Return a system over these servers, its database migrated."""
    migrate(servers.database_url)
    own = servers.addresses.environment()
    return System(folder, {**own, "TOPIC_PREFIX": "full-", "RATE_LIMIT_MAX": "0"})


def has_logged(worker: Worker, **fields: object) -> bool:
    """Whether a worker has logged a line with these fields."""
    return any(fields.items() <= record.items() for record in worker.log_records)


@pytest.mark.whole
@pytest.mark.timeout(900)
def test_postgres_disk_full(tmp_path: Path, seed: int) -> None:
    """The gateway goes on accepting, the sinks wait for room; then all of it is charged once."""
    with servers_on(tmp_path / "servers", "postgres") as (servers, disk):
        system = system_on(servers, tmp_path / "system")
        postgres = servers.postgres
        assert postgres is not None
        with Trial(system, seed=seed, partitions=2, load=LOAD) as trial:
            trial.start(gateways=1, streams=1, sinks=1)
            wait_until(lambda: len(trial.model.usages) > 500, 60, "the load runs")
            disk.fill()

            def is_full() -> bool:
                return postgres.pid is None or has_logged(system.sinks[0], sqlstate=DISK_FULL)

            wait_until(is_full, 120, "Postgres has no room")
            assert system.sinks[0].pid is not None, system.sinks[0].last_words()
            assert OneEvent(trial).post(timeout_seconds=20) == 202
            disk.free()
            postgres.start()  # It ends when its log finds no room.
            trial.check()


@pytest.mark.whole
@pytest.mark.timeout(900)
def test_kafka_disk_full(tmp_path: Path, seed: int) -> None:
    """The broker ends; the gateway says 503 and why; with room and a broker all goes on."""
    with servers_on(tmp_path / "servers", "kafka") as (servers, disk):
        system = system_on(servers, tmp_path / "system")
        kafka = servers.kafka
        assert kafka is not None
        with Trial(system, seed=seed, partitions=2, load=LOAD) as trial:
            trial.start(gateways=1, streams=1, sinks=1)
            wait_until(lambda: len(trial.model.usages) > 500, 60, "the load runs")
            disk.fill()
            wait_until(lambda: kafka.pid is None, 120, "the broker has no room and ends")
            event = OneEvent(trial)
            assert event.post(timeout_seconds=60) == 503
            assert "Kafka" in event.answer, event.answer
            disk.free()
            kafka.start()
            wait_until(lambda: event.post(timeout_seconds=60) == 202, 120, "it is accepted")
            trial.check()

"""A gateway with ten thousand idle connections, and one that may open no more files.

Skipped where this process may not open as many connections itself.
"""

import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.ports import LOOPBACK
from tests.crash.one_event import NO_ANSWER, OneEvent
from tests.crash.trial import Trial
from tests.crash.workload import Load
from tests.system import System
from tests.waiting import wait_until

IDLE_CONNECTIONS = 10_000
OWN_FILES = 500  # of this process and of the gateway, beside the connections
BYTES_PER_CONNECTION_MAX = 40 << 10
FILES_LEFT = 20


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process, and those that it starts, open as many files as it takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE_CONNECTIONS + OWN_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"RLIMIT_NOFILE is {hard} at most, {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def idle_connections(port: int, number: int) -> Iterator[list[socket.socket]]:
    """Open connections that say nothing."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection((LOOPBACK, port), timeout=30))
            for _ in range(number)
        ]


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has in use."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def open_files(pid: int) -> int:
    """Return how many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.whole
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("many_files")
def test_ten_thousand_idle_connections_are_carried(system: System, seed: int) -> None:
    """It answers as ever, what a connection takes is bounded, and it is given back."""
    system.environment["IDLE_TIMEOUT_SECONDS"] = "300"  # or it closes them while we look
    with Trial(system, seed=seed, load=Load(rest_seconds=0.05)) as trial:
        trial.start(gateways=1, streams=1, sinks=1)
        pid, port = system.gateways[0].pid, int(system.environment["PORT"])
        assert pid is not None
        before, files = resident_bytes(pid), open_files(pid)
        with idle_connections(port, IDLE_CONNECTIONS):
            wait_until(lambda: open_files(pid) >= files + IDLE_CONNECTIONS, 60, "all are accepted")
            taken = resident_bytes(pid) - before
            refused = trial.workload.refused_answers
            trial.check()
            assert open_files(pid) >= IDLE_CONNECTIONS, "they were closed meanwhile"
        print(f"{taken / IDLE_CONNECTIONS / 1024:.1f} KiB per idle connection")
        assert taken < IDLE_CONNECTIONS * BYTES_PER_CONNECTION_MAX
        assert trial.workload.refused_answers == refused
        wait_until(lambda: open_files(pid) < files + OWN_FILES, 60, "they are given back")


@pytest.mark.whole
@pytest.mark.timeout(900)
def test_a_gateway_out_of_files_goes_on(system: System, seed: int) -> None:
    """Who has a connection is served, others wait; when files are free again, all are served."""
    with Trial(system, seed=seed, load=Load(rest_seconds=0.05)) as trial:
        trial.start(gateways=1, streams=1, sinks=1)
        pid, port = system.gateways[0].pid, int(system.environment["PORT"])
        assert pid is not None
        wait_until(lambda: len(trial.model.usages) > 100, 60, "the load runs over its connections")
        newcomer = OneEvent(trial)
        limit = open_files(pid) + FILES_LEFT
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
        with idle_connections(port, 3 * FILES_LEFT):
            wait_until(lambda: open_files(pid) >= limit, 30, "it has no file left")
            assert newcomer.post(timeout_seconds=3) == NO_ANSWER
            sent = trial.model.sent.total()
            wait_until(lambda: trial.model.sent.total() > sent + 500, 60, "the load is served")
        wait_until(lambda: newcomer.post(timeout_seconds=3) == 202, 60, "who waited is served")
        system.require_all_running()
        trial.check()

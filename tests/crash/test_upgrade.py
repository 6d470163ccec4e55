"""The last release's processes beside this one's, exchanged one by one under load.

The database has this release's schema: migrations come first (docs/upgrade.md).
"""

import os
import re
import subprocess
import sys
import tarfile
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest

from tests.crash.trial import Trial
from tests.crash.workload import Load
from tests.system import REPOSITORY, System, Worker
from tests.waiting import wait_until

# What stands for the last release as long as no tag `v*` is behind this commit.
BEFORE_THE_FIRST_TAG = "4d2ed11e554eb8b76a1971f493c4cf423b9ce5ff"
LOAD = Load(posts=2, producers=1, rest_seconds=0.05, keeps_connections=False)
PARTITIONS = 4
TIMEOUT_SECONDS = 60.0
WORKED = re.compile(
    r"^burnstream_(streams_rated_batches_total|sinks_transactions_total"
    r'|gateway_requests_total{route="/v1/events/ingest",status="202"}) [1-9]',
    re.MULTILINE,
)


def git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, capture_output=True, timeout=60, check=False
    )


def last_release() -> str:
    """The newest tag `v*` behind this commit, or what stands for it."""
    behind = ("--merged", "HEAD", "--no-contains", "HEAD")
    tags = git("tag", "--list", "v*", *behind, "--sort=-version:refname").stdout.decode().split()
    return tags[0] if tags else BEFORE_THE_FIRST_TAG


@pytest.fixture
def old_code(tmp_path: Path) -> Path:
    """The last release's files."""
    release = last_release()
    if git("cat-file", "-e", f"{release}^{{commit}}").returncode != 0:
        pytest.skip(f"this checkout is shallow: it lacks {release}")
    folder = tmp_path / "last-release"
    with tarfile.open(fileobj=BytesIO(git("archive", release).stdout)) as archive:
        archive.extractall(folder, filter="data")
    found = subprocess.run(
        [sys.executable, "-c", "import gateway, sinks, streams; print(streams.__file__)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(str(folder))
    return folder


def has_worked(worker: Worker) -> bool:
    """Whether its counters say so."""
    return WORKED.search(worker.metrics()) is not None


def require_at_work(system: System) -> None:
    """Wait until each worker, of either release, has done something since it was started."""
    for worker in system.workers:
        system.require_all_running()
        wait_until(partial(has_worked, worker), TIMEOUT_SECONDS, f"{worker.name} works")


def exchange(system: System, worker: Worker) -> None:
    """End a worker in order and start this release's in its place, the others going on."""
    assert worker.stop() == 0, worker.last_words()
    worker.code = None
    worker.start()
    system.wait_until_ready()
    require_at_work(system)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "order",
    [
        pytest.param(("streams", "sinks", "gateways"), id="streams-first"),
        pytest.param(("sinks", "streams", "gateways"), id="sinks-first", marks=pytest.mark.whole),
    ],
)
def test_processes_are_exchanged_one_by_one(
    system: System, seed: int, old_code: Path, order: tuple[str, ...]
) -> None:
    """Old and new share partitions and a port; the ledger equals the model after each kind."""
    with Trial(system, seed=seed, partitions=PARTITIONS, load=LOAD) as trial:
        trial.prepare()
        system.start(gateways=2, streams=2, sinks=2, code=old_code)
        trial.start_load()
        require_at_work(system)

        for kind in order:
            for worker in getattr(system, kind):
                exchange(system, worker)
            trial.check()

        assert [worker.name for worker in system.workers if worker.code is not None] == []

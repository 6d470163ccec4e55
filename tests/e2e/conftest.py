"""The whole system of an e2e test: topics and prices are there, no process runs yet."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.topics import Topics
from tests.e2e.ledger import Ledger
from tests.system import System


@pytest.fixture
def environment() -> dict[str, str]:
    """What a test file adds to the environment of its processes, by a fixture of this name."""
    return {}


@pytest.fixture
def system(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    addresses: dict[str, str],
    environment: dict[str, str],
) -> Iterator[System]:
    """A system on the session's servers."""
    with System(tmp_path / "system", addresses | environment) as system:
        system.prepare()
        yield system
        system.keep_logs(request.node.name)


@pytest.fixture
def ledger(database_url: str) -> Ledger:
    """What the processes of the test write to."""
    return Ledger(database_url)


@pytest.fixture
def raw(topic_prefix: str) -> str:
    """The test's topic of raw events."""
    return Topics(topic_prefix).raw

"""A system over the session's servers for each crash test, and the seed of its history."""

from pathlib import Path

import pytest

from tests.crash.trial import chosen_seed
from tests.system import System


@pytest.fixture
def seed() -> int:
    return chosen_seed()


@pytest.fixture
def system(tmp_path: Path, addresses: dict[str, str]) -> System:
    return System(tmp_path, addresses | {"RATE_LIMIT_MAX": "0"})

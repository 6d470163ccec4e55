"""A system over the session's servers for each crash test, and the seed of its history."""

from pathlib import Path

import pytest

from tests.crash.trial import chosen_seed
from tests.system import System


@pytest.fixture
def seed() -> int:
    return chosen_seed()


@pytest.fixture
def system(
    tmp_path: Path, kafka_bootstrap: str, database_url: str, redis_url: str, topic_prefix: str
) -> System:
    return System(
        tmp_path,
        {
            "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "TOPIC_PREFIX": topic_prefix,
            "RATE_LIMIT_MAX": "0",
        },
    )

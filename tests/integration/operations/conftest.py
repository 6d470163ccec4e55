"""Fixtures for tests of the ledger's schema, audit and commands."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.command_line import CommandLine


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def ledger_commands(database_url: str) -> CommandLine:
    """Commands that need no Kafka."""
    return CommandLine({"DATABASE_URL": database_url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})


@pytest.fixture
def commands(database_url: str, kafka_bootstrap: str, topic_prefix: str) -> CommandLine:
    """All commands, with topics of this test's own (not made yet)."""
    return CommandLine(
        {
            "DATABASE_URL": database_url,
            "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap,
            "TOPIC_PREFIX": topic_prefix,
        }
    )

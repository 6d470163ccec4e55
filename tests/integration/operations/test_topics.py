"""`burnstream topics` on a real broker: what it makes, and what it refuses."""

import asyncio
import time
from typing import Any

import psycopg
import pytest
from aiokafka import AIOKafkaProducer

from schemas.topics import RATED, RAW, TOPIC_SPECS
from tests.command_line import CommandLine
from tests.integration.operations.kafka_records import create_topic, delete_topic
from tests.waiting import wait_until

Connection = psycopg.Connection[Any]


def offsets(connection: Connection) -> list[tuple[str, int, int, int]]:
    return connection.execute(
        'SELECT topic, partition, epoch, next_offset FROM "SinkOffset" ORDER BY partition'
    ).fetchall()


def test_topics_are_made_once(
    commands: CommandLine, connection: Connection, topic_prefix: str
) -> None:
    """All five are made with their ledger positions; the same again changes nothing."""
    report = commands.succeed("topics", "--partitions", "2")
    assert report["created"] == [
        topic_prefix + name
        for name in ("usage.rated", "usage.burns", "usage.prices", "usage.quarantine", "usage.raw")
    ]
    raw = topic_prefix + "usage.raw"
    assert offsets(connection) == [(raw, 0, 0, 0), (raw, 1, 0, 0)]
    connection.execute('UPDATE "SinkOffset" SET next_offset = 9 WHERE partition = 1')
    # Without --partitions: as many as there are.
    assert commands.succeed("topics") == {"partitions": 2, "created": [], "warnings": []}
    assert offsets(connection) == [(raw, 0, 0, 0), (raw, 1, 0, 9)]


def test_a_writer_whose_clock_is_days_ahead_is_taken(
    commands: CommandLine, kafka_bootstrap: str, topic_prefix: str
) -> None:
    """No topic believes the time of a worker: a broker would refuse one that is to come."""
    commands.succeed("topics", "--partitions", "1")
    ahead_ms = int((time.time() + 2 * 86_400) * 1_000)

    async def write() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
            for spec in TOPIC_SPECS:
                await producer.send_and_wait(
                    topic_prefix + spec.name, b"{}", key=b"x", timestamp_ms=ahead_ms
                )

    asyncio.run(write())


def test_default_is_four_partitions(commands: CommandLine) -> None:
    """Nothing said, nothing there: four."""
    assert commands.succeed("topics")["partitions"] == 4


def test_other_partition_count_is_refused(commands: CommandLine) -> None:
    """Growth is another command's: the difference is named, topic by topic."""
    commands.succeed("topics", "--partitions", "2")
    outcome = commands.run("topics", "--partitions", "3")
    assert outcome.exit_code == 1
    assert "usage.raw has 2 partitions, expected 3" in outcome.stderr
    assert "usage.burns has 2 partitions, expected 3" in outcome.stderr
    assert "usage.prices" not in outcome.stderr


@pytest.mark.parametrize(
    ("name", "partitions", "config", "says"),
    [
        (
            "usage.raw",
            4,
            RAW.config | {"message.timestamp.type": "CreateTime"},
            "message.timestamp.type is CreateTime, expected LogAppendTime",
        ),
        (
            "usage.raw",
            4,
            RAW.config | {"cleanup.policy": "compact"},
            "cleanup.policy is compact, expected delete",
        ),
        (
            "usage.raw",
            4,
            RAW.config | {"retention.ms": "3600000"},
            "expected more than the dedupe window of 24 hours",
        ),
        ("usage.prices", 2, {"cleanup.policy": "compact"}, "usage.prices has 2 partitions"),
        ("usage.burns", 4, {}, "cleanup.policy is delete, expected compact"),
    ],
)
def test_drift_of_a_topic_is_refused(
    *,
    commands: CommandLine,
    kafka_bootstrap: str,
    topic_prefix: str,
    name: str,
    partitions: int,
    config: dict[str, str],
    says: str,
) -> None:
    """A topic that somebody made otherwise is named with what differs; nothing is made."""
    create_topic(kafka_bootstrap, topic_prefix + name, partitions, config)
    outcome = commands.run("topics")
    assert outcome.exit_code == 1
    assert says in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    again = commands.run("topics")
    assert again.stderr == outcome.stderr


def test_relations_of_raw_and_rated_are_checked(
    commands: CommandLine, kafka_bootstrap: str, topic_prefix: str
) -> None:
    """Rated records live as long as raw ones and may be four times as large."""
    create_topic(
        kafka_bootstrap, topic_prefix + "usage.raw", 4, RAW.config | {"retention.ms": "-1"}
    )
    create_topic(
        kafka_bootstrap,
        topic_prefix + "usage.rated",
        4,
        RATED.config | {"max.message.bytes": "4000000"},
    )
    outcome = commands.run("topics")
    assert "retention.ms is 691200000, expected at least that of" in outcome.stderr
    assert "max.message.bytes is 4000000, expected at least 4 times" in outcome.stderr


def test_topic_made_anew_under_an_old_ledger_is_told(
    commands: CommandLine, connection: Connection, kafka_bootstrap: str, topic_prefix: str
) -> None:
    """A raw topic that is gone is made again, and the operator is told what to decide."""
    commands.succeed("topics", "--partitions", "1")
    connection.execute('UPDATE "SinkOffset" SET next_offset = 7')
    delete_topic(kafka_bootstrap, topic_prefix + "usage.raw")
    # Deletion goes on behind the answer.
    told = wait_until(
        lambda: found.stderr if (found := commands.run("topics")).exit_code == 0 else "",
        30,
        "usage.raw is made again",
    )
    assert "applied partition 0 up to offset 7" in told
    assert "burnstream repair new-epoch 0" in told

"""`burnstream scale` on a real broker: what it adds, in which order, and what it refuses."""

import asyncio
from typing import Any

import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from deploy.runtime.settings import RuntimeSettings
from schemas.topics import RAW, TOPIC_SPECS
from sinks import scale as topic_growth
from sinks.topic_admin import admin_client, describe
from tests.command_line import CommandLine
from tests.integration.operations.kafka_records import create_topic, produce

Connection = psycopg.Connection[Any]
GROWING = ("usage.rated", "usage.burns", "usage.raw")


def positions(connection: Connection) -> list[tuple[int, int, int]]:
    return connection.execute(
        'SELECT partition, next_offset, rated_offset FROM "SinkOffset" ORDER BY partition'
    ).fetchall()


def sizes(commands: CommandLine) -> dict[str, int]:
    """Partitions of each topic, by its name without the test's prefix."""
    prefix = commands.environment["TOPIC_PREFIX"]
    settings = RuntimeSettings(
        kafka_bootstrap_servers=commands.environment["KAFKA_BOOTSTRAP_SERVERS"],
        topic_prefix=prefix,
    )

    async def look() -> dict[str, int]:
        async with admin_client(settings) as admin:
            states = await describe(admin, settings.topics)
        return {name.removeprefix(prefix): state.partitions for name, state in states.items()}

    return asyncio.run(look())


def test_all_that_goes_together_grows(
    commands: CommandLine, connection: Connection, topic_prefix: str
) -> None:
    """Positions and three topics grow; what was there stays; the same again changes nothing."""
    commands.succeed("topics", "--partitions", "2")
    connection.execute('UPDATE "SinkOffset" SET next_offset = 9, rated_offset = 3')
    assert commands.succeed("scale", "--partitions", "5") == {
        "partitions": 5,
        "positions": 3,
        "grown": [{"topic": topic_prefix + name, "before": 2, "partitions": 5} for name in GROWING],
    }
    assert sizes(commands) == dict.fromkeys(GROWING, 5) | {"usage.prices": 1, "usage.quarantine": 1}
    assert positions(connection) == [(0, 9, 3), (1, 9, 3), (2, 0, 0), (3, 0, 0), (4, 0, 0)]

    assert commands.succeed("scale", "--partitions", "5") == {
        "partitions": 5,
        "positions": 0,
        "grown": [],
    }
    assert positions(connection)[0] == (0, 9, 3)
    assert commands.succeed("topics")["partitions"] == 5


def test_what_it_means_is_said(commands: CommandLine) -> None:
    """The text names each topic, who follows by himself, and what becomes of duplicates."""
    commands.succeed("topics", "--partitions", "1")
    told = commands.run("scale", "--partitions", "2").stdout
    assert all(f"{name}: 1 -> 2 partitions" in told for name in GROWING)
    assert "nothing is to be restarted" in told
    assert "more conflicts for the length of the dedupe window" in told
    again = commands.run("scale", "--partitions", "2")
    assert (again.exit_code, again.stdout) == (0, "nothing to add: there are 2 partitions\n")


def test_shrinking_is_refused(commands: CommandLine, connection: Connection) -> None:
    """Fewer partitions than there are: refused, with the reason and the least that can be."""
    commands.succeed("topics", "--partitions", "3")
    refused = commands.run("scale", "--partitions", "2")
    assert refused.exit_code == 1
    assert "has 3 partitions already, and none is taken away" in refused.stderr
    assert "say 3 or more" in refused.stderr
    assert len(positions(connection)) == 3


def test_topics_come_first(commands: CommandLine, connection: Connection) -> None:
    """Without topics there is nothing to add to, and nothing is made."""
    refused = commands.run("scale", "--partitions", "8")
    assert refused.exit_code == 1
    assert "run `burnstream topics` first" in refused.stderr
    assert positions(connection) == []


def test_drift_is_refused_before_anything_grows(
    commands: CommandLine, connection: Connection, kafka_bootstrap: str, topic_prefix: str
) -> None:
    """A topic whose configuration is not as it must be: named, and nothing is added."""
    for spec in TOPIC_SPECS:
        drift = {"message.timestamp.type": "CreateTime"} if spec is RAW else {}
        create_topic(kafka_bootstrap, topic_prefix + spec.name, 1, spec.config | drift)
    refused = commands.run("scale", "--partitions", "2")
    assert refused.exit_code == 1
    assert "message.timestamp.type is CreateTime" in refused.stderr
    assert set(sizes(commands).values()) == {1}
    assert positions(connection) == []


class KilledError(Exception):
    """Stands for a kill -9."""


@pytest.mark.parametrize("before", GROWING)
def test_a_scale_that_was_killed_is_finished_by_another(
    commands: CommandLine,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    topic_prefix: str,
    before: str,
) -> None:
    """Killed before any topic grows: `topics` and a smaller scale say how to go on; again does."""
    commands.succeed("topics", "--partitions", "1")
    grow = topic_growth.add_partitions

    async def die_before(admin: AIOKafkaAdminClient, topic: str, partitions: int) -> None:
        if topic == topic_prefix + before:
            raise KilledError
        await grow(admin, topic, partitions)

    monkeypatch.setattr(topic_growth, "add_partitions", die_before)
    with pytest.raises(KilledError):
        commands.run("scale", "--partitions", "3")
    monkeypatch.undo()

    # Whatever has grown, all that stands behind it has.
    grown = GROWING[: GROWING.index(before)]
    assert {name: size for name, size in sizes(commands).items() if size == 3}.keys() == set(grown)
    assert len(positions(connection)) == 3
    assert commands.run("audit", "--log").exit_code == 0
    for arguments in (
        ("topics",),
        ("topics", "--partitions", "1"),
        ("topics", "--partitions", "3"),
    ):
        refused = commands.run(*arguments)
        assert refused.exit_code == 1
        assert "a scale was not finished" in refused.stderr
        assert "run `burnstream scale --partitions 3`" in refused.stderr
    assert "say 3 or more" in commands.run("scale", "--partitions", "2").stderr

    report = commands.succeed("scale", "--partitions", "3")
    assert [one["topic"].removeprefix(topic_prefix) for one in report["grown"]] == list(
        GROWING[len(grown) :]
    )
    assert commands.succeed("topics")["partitions"] == 3


def test_two_at_once_both_end_well(commands: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another scale that is quicker with a topic is no error."""
    commands.succeed("topics", "--partitions", "1")
    grow = topic_growth.add_partitions

    async def grow_twice(admin: AIOKafkaAdminClient, topic: str, partitions: int) -> None:
        await grow(admin, topic, partitions)
        await grow(admin, topic, partitions)

    monkeypatch.setattr(topic_growth, "add_partitions", grow_twice)
    assert commands.succeed("scale", "--partitions", "2")["partitions"] == 2
    assert sizes(commands)["usage.raw"] == 2


def test_a_topic_grown_by_hand_is_put_right(
    commands: CommandLine, connection: Connection, kafka_bootstrap: str, topic_prefix: str
) -> None:
    """Where somebody added partitions to usage.raw alone, `scale` adds what is missing behind."""
    commands.succeed("topics", "--partitions", "1")
    settings = RuntimeSettings(kafka_bootstrap_servers=kafka_bootstrap, topic_prefix=topic_prefix)

    async def grow_by_hand() -> None:
        async with admin_client(settings) as admin:
            await topic_growth.add_partitions(admin, topic_prefix + "usage.raw", 2)

    asyncio.run(grow_by_hand())
    assert produce(kafka_bootstrap, topic_prefix + "usage.raw", 1, b"{}")[0].offset == 0
    assert "run `burnstream scale --partitions 2`" in commands.run("topics").stderr
    report = commands.succeed("scale", "--partitions", "2")
    assert [one["topic"].removeprefix(topic_prefix) for one in report["grown"]] == [
        "usage.rated",
        "usage.burns",
    ]
    assert positions(connection) == [(0, 0, 0), (1, 0, 0)]

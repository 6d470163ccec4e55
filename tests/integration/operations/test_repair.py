"""`burnstream repair`: the states that call for a decision, those that do not, what is written."""

from typing import Any

import psycopg
import pytest

from schemas.rated import Kind, decode_batch
from sinks import repair as sink_repair
from tests.command_line import CommandLine
from tests.integration.operations.kafka_records import (
    consume,
    delete_records,
    forget_offsets,
    produce,
    produce_rated,
    rated,
)

Connection = psycopg.Connection[Any]

DECIDE = ("--reason", "power loss", "--by", "ann")


@pytest.fixture
def topics(commands: CommandLine, topic_prefix: str) -> str:
    """Prefix of topics with one partition."""
    commands.succeed("topics", "--partitions", "1")
    return topic_prefix


def set_offset(connection: Connection, next_offset: int, rated_offset: int, time: int = 0) -> None:
    connection.execute(
        'UPDATE "SinkOffset" SET next_offset = %s, rated_offset = %s, max_broker_time = %s',
        [next_offset, rated_offset, time],
    )


def rated_offset(connection: Connection) -> tuple[Any, ...] | None:
    return connection.execute('SELECT rated_offset FROM "SinkOffset"').fetchone()


def test_healthy_partition_is_refused(
    commands: CommandLine, topics: str, kafka_bootstrap: str
) -> None:
    """A partition whose logs hold what is next, and nothing younger below, needs no decision."""
    records = produce(kafka_bootstrap, topics + "usage.raw", 0, b"a", b"b", b"c")
    produce_rated(kafka_bootstrap, topics + "usage.rated", rated(0, 2, records[1].timestamp))
    for command, says in (
        ("new-epoch", "needs no new epoch: the raw log ends at 3, 2 is applied"),
        ("accept-hole", "has no hole to accept: 2 is next"),
    ):
        outcome = commands.run("repair", command, "0", *DECIDE)
        assert outcome.exit_code == 1
        assert says in outcome.stderr
    assert len(consume(kafka_bootstrap, topics + "usage.rated", 0)) == 1


def test_unknown_partition_is_refused(commands: CommandLine, topics: str) -> None:
    """A partition without a position is no partition."""
    outcome = commands.run("repair", "new-epoch", "5", *DECIDE)
    assert f"there is no partition 5 of {topics}usage.raw" in outcome.stderr


def test_new_epoch_of_a_log_that_ends_early(
    commands: CommandLine, connection: Connection, topics: str, kafka_bootstrap: str
) -> None:
    """A raw log that ends below the position goes on where its younger records begin."""
    produce(kafka_bootstrap, topics + "usage.raw", 0, b"new", b"new")
    set_offset(connection, 600, 5_000, time=1)
    decision = commands.succeed("repair", "new-epoch", "0", *DECIDE)
    assert (decision["first_offset"], decision["next_offset"]) == (600, 0)
    marker = decode_batch(consume(kafka_bootstrap, topics + "usage.rated", 0)[-1].value)
    assert (marker.kind, marker.first_offset, marker.next_offset) == (Kind.NEW_EPOCH, 600, 0)
    assert (marker.reason, marker.decided_by) == ("power loss", "ann")
    # The rated log was made again, too: the sinks must find the marker.
    assert rated_offset(connection) == (0,)


def test_new_epoch_of_a_log_that_grew_again(
    commands: CommandLine, connection: Connection, topics: str, kafka_bootstrap: str
) -> None:
    """Where a sink stopped on a record, what it could not reach any more is written once more."""
    raw, rated_topic = topics + "usage.raw", topics + "usage.rated"
    times = [one.timestamp for one in produce(kafka_bootstrap, raw, 0, b"old", b"old", b"new")]
    young = times[-1] + 10_000
    set_offset(connection, 1, 0, time=times[0] - 1)
    produce_rated(
        kafka_bootstrap,
        rated_topic,
        rated(1, 5, times[0] - 1),  # not applied yet
        rated(0, 2, young),  # a sink stops here
    )
    decision = commands.succeed("repair", "new-epoch", "0", *DECIDE)
    assert (decision["first_offset"], decision["next_offset"]) == (5, 0)
    written = [decode_batch(one.value) for one in consume(kafka_bootstrap, rated_topic, 0)][2:]
    assert [(one.kind, one.first_offset) for one in written] == [
        (Kind.RATED, 1),
        (Kind.NEW_EPOCH, 5),
    ]
    assert rated_offset(connection) == (2,)


def test_hole_where_the_raw_log_is_gone(
    commands: CommandLine, connection: Connection, topics: str, kafka_bootstrap: str
) -> None:
    """What retention deleted before it was applied is a hole up to the log's start."""
    produce(kafka_bootstrap, topics + "usage.raw", 0, *[b"x"] * 9)
    delete_records(kafka_bootstrap, topics + "usage.raw", 0, 7)
    produce_rated(kafka_bootstrap, topics + "usage.rated", rated(0, 3, 1))
    decision = commands.succeed("repair", "accept-hole", "0", *DECIDE)
    # The rated batch that is not applied yet counts: the hole begins behind it.
    assert (decision["first_offset"], decision["next_offset"]) == (3, 7)
    marker = decode_batch(consume(kafka_bootstrap, topics + "usage.rated", 0)[-1].value)
    assert (marker.kind, marker.first_offset, marker.next_offset) == (Kind.HOLE, 3, 7)
    assert rated_offset(connection) == (0,)


def test_what_was_passed_over_follows_the_hole(
    commands: CommandLine, connection: Connection, topics: str, kafka_bootstrap: str
) -> None:
    """Batches beyond the hole are written again behind the decision: their events are not lost."""
    rated_topic = topics + "usage.rated"
    produce(kafka_bootstrap, topics + "usage.raw", 0, *[b"x"] * 9)
    delete_records(kafka_bootstrap, topics + "usage.raw", 0, 8)
    set_offset(connection, 2, 0)
    produce_rated(kafka_bootstrap, rated_topic, rated(4, 6, 1), rated(6, 8, 1))
    decision = commands.succeed("repair", "accept-hole", "0", *DECIDE)
    assert (decision["next_offset"], decision["written_again"]) == (4, 2)
    written = [decode_batch(one.value) for one in consume(kafka_bootstrap, rated_topic, 0)]
    assert [(one.kind, one.first_offset) for one in written[2:]] == [
        (Kind.HOLE, 2),
        (Kind.RATED, 4),
        (Kind.RATED, 6),
    ]
    # The state calls for nothing more.
    assert commands.run("repair", "accept-hole", "0", *DECIDE).exit_code == 1


def test_a_place_that_kafka_does_not_say_is_looked_up(
    commands: CommandLine,
    connection: Connection,
    topics: str,
    kafka_bootstrap: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The broker had the record already: the sinks are sent to where the log has it."""
    raw, rated_topic = topics + "usage.raw", topics + "usage.rated"
    times = [one.timestamp for one in produce(kafka_bootstrap, raw, 0, b"old", b"old", b"new")]
    set_offset(connection, 1, 0, time=times[0] - 1)
    unreachable, refused = rated(1, 5, times[0] - 1), rated(0, 2, times[-1] + 10_000)
    produce_rated(kafka_bootstrap, rated_topic, unreachable, refused)
    forget_offsets(monkeypatch)
    decision = commands.succeed("repair", "new-epoch", "0", *DECIDE)
    # Not offset 0, where the same bytes stood before.
    assert decision["rated_offset"] == 3
    assert rated_offset(connection) == (2,)


def test_a_record_that_is_nowhere_is_said(
    commands: CommandLine,
    topics: str,
    kafka_bootstrap: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Acknowledged, yet not in the log: nothing is guessed, the sinks' position stays."""
    produce(kafka_bootstrap, topics + "usage.raw", 0, *[b"x"] * 9)
    delete_records(kafka_bootstrap, topics + "usage.raw", 0, 7)

    async def nowhere(*_: object) -> int:
        return -1

    monkeypatch.setattr(sink_repair, "_send", nowhere)
    outcome = commands.run("repair", "accept-hole", "0", *DECIDE)
    assert outcome.exit_code == 1
    assert "that is not in the log from 0 on" in outcome.stderr

"""Dead letters from a real ledger, replayed into a real log."""

from typing import Any

import psycopg
import pytest
from aiokafka import AIOKafkaProducer

from deploy.local.servers import LocalServers
from sinks import dead_letters
from sinks.audit import audit
from tests.command_line import CommandLine
from tests.integration.operations import small_ledger
from tests.integration.operations.kafka_records import consume, forget_offsets

Connection = psycopg.Connection[Any]

OPEN, NOT_JSON, REPLAYED = "dl-1-0-0-0", "dl-1-1-2-0", "dl-0-0-4-0"


@pytest.fixture
def ledger(connection: Connection) -> Connection:
    small_ledger.build(connection)
    return connection


def status(connection: Connection, letter: str) -> tuple[Any, ...] | None:
    return connection.execute(
        'SELECT status, replays, replayed_as, resolved_by, resolved_reason FROM "DeadLetter" '
        "WHERE id = %s",
        [letter],
    ).fetchone()


@pytest.mark.usefixtures("ledger")
def test_list_and_show(ledger_commands: CommandLine) -> None:
    """Open letters are listed by default; filters choose others; a letter shows its bytes."""
    assert [one["id"] for one in ledger_commands.succeed("dead-letters", "list")] == [OPEN]
    everything = ledger_commands.succeed("dead-letters", "list", "--status", "ALL")
    assert {one["id"] for one in everything} == {OPEN, NOT_JSON, REPLAYED}
    assert ledger_commands.succeed("dead-letters", "list", "--kind", "UNPRICED") == []
    assert ledger_commands.succeed("dead-letters", "list", "--customer", "c1") == []
    assert ledger_commands.succeed("dead-letters", "show", OPEN)["payload"] == "{}"
    hostile = ledger_commands.succeed("dead-letters", "show", NOT_JSON)
    assert hostile["payload"] == {"base64": "/wA="}
    assert OPEN in ledger_commands.run("dead-letters", "list").stdout


def test_replay_writes_the_bytes_and_marks(
    ledger: Connection, commands: CommandLine, kafka_bootstrap: str, topic_prefix: str
) -> None:
    """The letter's bytes go to usage.raw under the customer's key, naming what they replay."""
    commands.succeed("topics", "--partitions", "1")
    replayed = commands.succeed("dead-letters", "replay", OPEN, "--by", "ann", "--reason", "made")
    assert replayed == {"replayed": {OPEN: "0:0"}}
    record = consume(kafka_bootstrap, topic_prefix + "usage.raw", 0)[0]
    assert (record.key, record.value) == (b"c3", b"{}")
    assert dict(record.headers) == {"format": b"1", "replay-of": b"1:0:0:0"}
    assert status(ledger, OPEN) == ("REPLAYED", 1, "0:0", "ann", "made")


def test_replay_twice_and_all(
    ledger: Connection, commands: CommandLine, kafka_bootstrap: str, topic_prefix: str
) -> None:
    """A letter may be replayed again by its id; --all takes open ones only."""
    commands.succeed("topics", "--partitions", "1")
    assert commands.succeed("dead-letters", "replay", "--all")["replayed"] == {OPEN: "0:0"}
    assert commands.succeed("dead-letters", "replay", "--all")["replayed"] == {}
    assert commands.succeed("dead-letters", "replay", OPEN)["replayed"] == {OPEN: "0:1"}
    assert len(consume(kafka_bootstrap, topic_prefix + "usage.raw", 0)) == 2
    found = status(ledger, OPEN)
    assert found is not None
    assert found[:3] == ("REPLAYED", 2, "0:1")


def test_a_place_that_kafka_does_not_say_is_not_recorded(
    ledger: Connection, commands: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker had the record already: the letter is replayed, where is not known."""
    commands.succeed("topics", "--partitions", "1")
    forget_offsets(monkeypatch)
    outcome = commands.run("dead-letters", "replay", OPEN)
    assert outcome.stdout == f"{OPEN} replayed as a record whose place Kafka did not say\n"
    found = status(ledger, OPEN)
    assert found is not None
    assert found[:3] == ("REPLAYED", 1, None)
    assert audit(ledger).is_clean


def test_whole_record_is_replayed_as_it_was(
    ledger: Connection, commands: CommandLine, kafka_bootstrap: str, topic_prefix: str
) -> None:
    """Bytes that are no JSON, and the record's own key, come through untouched."""
    ledger.execute(
        "UPDATE \"DeadLetter\" SET status = 'OPEN', record_key = '\\x00ff' WHERE id = %s",
        [NOT_JSON],
    )
    commands.succeed("topics", "--partitions", "1")
    commands.succeed("dead-letters", "replay", "--all", "--kind", "NOT_JSON")
    record = consume(kafka_bootstrap, topic_prefix + "usage.raw", 0)[0]
    assert (record.key, record.value) == (b"\x00\xff", b"\xff\x00")


def test_discard_says_who_and_why(ledger: Connection, ledger_commands: CommandLine) -> None:
    """A discarded letter keeps its bytes, its judge and the reason; the audit stays clean."""
    outcome = ledger_commands.run("dead-letters", "discard", OPEN, "--reason", "test traffic")
    assert outcome.stdout == "discarded 1 of 1\n"
    found = status(ledger, OPEN)
    assert found is not None
    assert (found[0], found[4]) == ("DISCARDED", "test traffic")
    assert found[3], "the operating system's user"
    again = ledger_commands.succeed("dead-letters", "discard", OPEN, "--reason", "again")
    assert again == {"discarded": 0}
    assert audit(ledger).is_clean


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (("show", "dl-9-9-9-9"), 1, "no dead letter dl-9-9-9-9"),
        (("replay", OPEN, "dl-9-9-9-9"), 1, "no dead letter dl-9-9-9-9"),
        (("replay",), 2, "name ids, or --all"),
        (("replay", OPEN, "--all"), 2, "name ids, or --all"),
        (("discard", OPEN), 2, "--reason"),
    ],
)
def test_wrong_use_is_refused(
    ledger: Connection,
    ledger_commands: CommandLine,
    arguments: tuple[str, ...],
    exit_code: int,
    says: str,
) -> None:
    """Unknown ids and missing decisions are refused, and nothing is changed."""
    outcome = ledger_commands.run("dead-letters", *arguments)
    assert outcome.exit_code == exit_code
    assert says in outcome.stderr
    assert status(ledger, OPEN) == ("OPEN", 0, None, None, None)


@pytest.mark.usefixtures("ledger")
def test_discarded_letters_are_not_replayed(commands: CommandLine) -> None:
    """What a person set aside does not come back by accident."""
    commands.succeed("topics", "--partitions", "1")
    outcome = commands.run("dead-letters", "replay", NOT_JSON)
    assert outcome.exit_code == 1
    assert f"discarded, not replayed: {NOT_JSON}" in outcome.stderr


def test_a_letter_discarded_during_its_replay_stays_discarded(
    ledger: Connection, commands: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who discarded it, and why, is kept; the letter and the command say that it was written."""
    commands.succeed("topics", "--partitions", "1")

    def discard_first(record: Any) -> str:
        letters = dead_letters.get(ledger, [OPEN])
        assert dead_letters.discard(ledger, letters, by="bob", reason="a test of ours") == 1
        return f"{record.partition}:{record.offset}"

    monkeypatch.setattr(dead_letters, "place_of", discard_first)
    outcome = commands.run("dead-letters", "replay", OPEN, "--by", "ann")
    assert outcome.exit_code == 1
    assert f"discarded by somebody while they were replayed: {OPEN} (replayed as 0:0)" in (
        outcome.stderr
    )
    assert status(ledger, OPEN) == ("DISCARDED", 1, "0:0", "bob", "a test of ours")
    assert audit(ledger).is_clean


def test_kafka_away_marks_nothing(ledger: Connection, ledger_commands: CommandLine) -> None:
    """A letter is marked only after Kafka acknowledged it."""
    outcome = ledger_commands.run("dead-letters", "replay", OPEN)
    assert outcome.exit_code == 69
    assert "Kafka at 127.0.0.1:1" in outcome.stderr
    assert status(ledger, OPEN) == ("OPEN", 0, None, None, None)


def test_kafka_lost_during_a_replay_ends_the_command(
    ledger: Connection,
    commands: CommandLine,
    local_servers: LocalServers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A record that Kafka does not acknowledge is given up: nothing is marked, the command ends."""
    commands.succeed("topics", "--partitions", "1")
    kafka, replay = local_servers.kafka, dead_letters.replay
    assert kafka is not None

    async def replay_without_kafka(
        connection: Connection, producer: AIOKafkaProducer, topic: str, *rest: Any, **named: Any
    ) -> Any:
        await producer.partitions_for(topic)
        kafka.pause()
        return await replay(connection, producer, topic, *rest, **named)

    monkeypatch.setattr(dead_letters, "replay", replay_without_kafka)
    monkeypatch.setattr(dead_letters, "ACK_TIMEOUT_SECONDS", 1.0)
    try:
        outcome = commands.run("dead-letters", "replay", OPEN)
    finally:
        kafka.resume()
    assert outcome.exit_code == 69
    assert "did not answer in time" in outcome.stderr
    assert status(ledger, OPEN) == ("OPEN", 0, None, None, None)

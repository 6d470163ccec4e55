"""`burnstream audit --log`: the log is recounted and compared with a ledger written by hand."""

from typing import Any

import psycopg
import pytest

from deploy.runtime.settings import RuntimeSettings
from sinks.audit_log import audit_log
from tests.command_line import CommandLine
from tests.integration.operations.kafka_records import delete_records, produce

Connection = psycopg.Connection[Any]

RECORDS = (
    b'{"event_id": "one"}',
    b'{"events": [{}, {}, {}]}',
    b"\xff no json",
    b'{"events": []}',
    b'{"events": [{}, {}]}',  # unreadable to streams: kept whole
    b'{"event_id": "not applied yet"}',
)


@pytest.fixture
def covered(
    commands: CommandLine, connection: Connection, kafka_bootstrap: str, topic_prefix: str
) -> str:
    """A log and the ledger that accounts for it; returns the raw topic's name."""
    commands.succeed("topics", "--partitions", "1")
    raw = topic_prefix + "usage.raw"
    produce(kafka_bootstrap, raw, 0, *RECORDS)
    connection.execute(
        'INSERT INTO "Customer" (id, name, email, api_key_hash) VALUES (%s, %s, %s, %s)',
        ["c1", "One", "one@example.com", "h1"],
    )
    for number, (offset, index) in enumerate([(0, 0), (1, 0)]):
        connection.execute(
            'INSERT INTO "UsageEvent" (id, customer_id, event_type, feature_id, credits_burned, '
            "cost_usd, timestamp, source_partition, source_epoch, source_offset, source_index) "
            "VALUES (%s, 'c1', 'API_CALL', 'f', 0, 0, now(), 0, 0, %s, %s)",
            [f"00000000-0000-4000-8000-00000000000{number}", offset, index],
        )
    connection.execute(
        'INSERT INTO "DuplicateEvent" (partition, epoch, "offset", index, customer_id, event_id, '
        "found_by) VALUES (0, 0, 1, 1, 'c1', '00000000-0000-4000-8000-000000000000', 'seen')"
    )
    for offset, index, payload in ((1, 2, b"{}"), (2, 0, RECORDS[2]), (4, 0, RECORDS[4])):
        connection.execute(
            'INSERT INTO "DeadLetter" (partition, epoch, "offset", index, reason, message, '
            "payload, found_by) VALUES (0, 0, %s, %s, 'BAD_SCHEMA', 'm', %s, 'streams')",
            [offset, index, payload],
        )
    connection.execute(
        'INSERT INTO "RatedBatch" (topic, partition, epoch, first_offset, next_offset, '
        "rated_offset, charged, duplicates, dead_letters) VALUES (%s, 0, 0, 0, 5, 0, 2, 1, 3)",
        [raw],
    )
    connection.execute('UPDATE "SinkOffset" SET next_offset = 5')
    return raw


def codes(commands: CommandLine) -> list[str]:
    return [one["code"] for one in commands.run("audit", "--log", "--json").data["discrepancies"]]


@pytest.mark.usefixtures("covered")
def test_accounted_log_is_clean(commands: CommandLine) -> None:
    """Single events, lists, empty lists and unreadable records are accounted for."""
    data = commands.succeed("audit", "--log")
    assert data["clean"] is True
    assert data["log"] == {"records": 5, "events": 7}


@pytest.mark.usefixtures("covered")
async def test_recounting_says_how_far_it_is(
    connection: Connection, kafka_bootstrap: str, topic_prefix: str
) -> None:
    """Offsets looked at, of all that the ledger covers, up to the last."""
    settings = RuntimeSettings(kafka_bootstrap_servers=kafka_bootstrap, topic_prefix=topic_prefix)
    told: list[tuple[int, int]] = []

    await audit_log(settings, connection, lambda done, total: told.append((done, total)))

    assert told == sorted(told)
    assert (told[0], told[-1]) == ((0, 5), (5, 5))


@pytest.mark.usefixtures("covered")
def test_forgotten_event_is_found(commands: CommandLine, connection: Connection) -> None:
    """An event that streams never mentioned, batches and all agreeing, is found by recounting."""
    connection.execute('DELETE FROM "DuplicateEvent"')
    connection.execute('UPDATE "RatedBatch" SET duplicates = 0')
    assert codes(commands) == ["LOG_EVENT_MISSING"]


@pytest.mark.usefixtures("covered")
def test_invented_event_is_found(commands: CommandLine, connection: Connection) -> None:
    """Outcomes beyond a record's events, and outcomes where the log has no event, are found."""
    connection.execute(
        'INSERT INTO "DuplicateEvent" (partition, epoch, "offset", index, customer_id, event_id, '
        "found_by) VALUES (0, 0, 3, 0, 'c1', '00000000-0000-4000-8000-000000000000', 'seen')"
    )
    connection.execute('UPDATE "RatedBatch" SET duplicates = 2')
    assert codes(commands) == ["LOG_ENTRY_EXTRA"]


@pytest.mark.usefixtures("covered")
def test_log_that_ends_early_is_found(commands: CommandLine, connection: Connection) -> None:
    """A ledger that has applied more than the log holds is told, and so are rows without record."""
    connection.execute('UPDATE "SinkOffset" SET next_offset = 9')
    connection.execute('UPDATE "RatedBatch" SET next_offset = 9, dead_letters = 4')
    connection.execute(
        'INSERT INTO "DeadLetter" (partition, epoch, "offset", index, reason, message, payload, '
        "found_by) VALUES (0, 0, 5, 0, 'NOT_JSON', 'm', 'other', 'streams')"
    )
    assert codes(commands) == ["LOG_ENDS_EARLY"]
    connection.execute('UPDATE "DeadLetter" SET "offset" = 7 WHERE "offset" = 5')
    assert codes(commands) == ["LOG_ENDS_EARLY", "LOG_EVENT_MISSING", "LOG_RECORD_UNKNOWN"]


def test_what_retention_deleted_is_not_asked_for(
    commands: CommandLine, kafka_bootstrap: str, covered: str
) -> None:
    """Only records that the log still holds are recounted."""
    delete_records(kafka_bootstrap, covered, 0, 2)
    assert commands.succeed("audit", "--log")["log"] == {"records": 3, "events": 3}


def test_accepted_hole_is_not_asked_for(
    commands: CommandLine, connection: Connection, covered: str
) -> None:
    """Records of a hole that a person accepted have no outcome and need none."""
    connection.execute('UPDATE "SinkOffset" SET next_offset = 6')
    assert codes(commands) == ["OFFSET_DISAGREES", "LOG_EVENT_MISSING"]
    connection.execute(
        'INSERT INTO "RatedBatch" (topic, partition, epoch, first_offset, next_offset, '
        "rated_offset, kind, reason, decided_by) VALUES (%s, 0, 0, 5, 6, 1, 'hole', 'r', 'ann')",
        [covered],
    )
    assert codes(commands) == []

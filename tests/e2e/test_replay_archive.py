"""A replay of what retention has taken: from the archive, and across the seam to the topic."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from schemas.topics import Topics
from tests.e2e.ledger import Ledger
from tests.e2e.producers import event, produce, value_of, wait_until_all_is_applied
from tests.integration.operations.kafka_records import delete_records
from tests.system import System

CUSTOMER = "cust-archive"


@pytest.mark.timeout(240)
def test_an_archive_is_read_like_the_topic(
    system: System, database_url: str, tmp_path: Path
) -> None:
    """Without it the beginning is gone; with it the replay is the whole ledger again."""
    ledger = Ledger(database_url)
    ledger.create_customer(CUSTOMER)
    system.start(gateways=0)
    events = [event(CUSTOMER) for _ in range(30)]
    kafka = system.environment["KAFKA_BOOTSTRAP_SERVERS"]
    raw = Topics(system.environment["TOPIC_PREFIX"]).raw

    def send(*chosen: dict[str, Any]) -> None:
        async def run(producer: AIOKafkaProducer) -> None:
            for one in chosen:
                await producer.send_and_wait(raw, value_of(one), partition=0)

        produce(system, run)

    def replay(*arguments: str, code: int) -> Any:
        done = system.burnstream("replay", *arguments, "--json", check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout or done.stderr)

    send(*events[:20], events[3])
    wait_until_all_is_applied(system, ledger)
    folder = tmp_path / "archive"
    system.burnstream("archive", "--to", str(folder))
    # Both logs have [10, 21]; a duplicate's first sight is in the archive alone.
    send(*events[20:], events[0])
    wait_until_all_is_applied(system, ledger)
    delete_records(kafka, raw, 0, 10)

    assert "no longer there" in replay("cut", "--from", "0:0", code=1)["error"]
    assert "no archive" in replay("none", "--archive", str(tmp_path), code=1)["error"]
    found = replay("whole", "--from", "0:0", "--archive", str(folder), code=0)
    assert found["equal"]
    assert sum(one["live"] for one in found["partitions"]) == len(events) + 2 + 2  # the fences'
    assert replay("whole", code=0)["finishedBefore"]

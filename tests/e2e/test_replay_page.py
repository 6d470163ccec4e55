"""The worked example of docs/replay.md: each command prints what the page prints."""

import json
import re
import shlex
import subprocess
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from deploy.local.postgres_server import psql_path
from deploy.local.servers import REPOSITORY
from schemas.topics import Topics
from tests.e2e.ledger import Ledger
from tests.e2e.producers import event, produce
from tests.integration.operations.kafka_records import create_topic
from tests.system import System

PAGE = (REPOSITORY / "docs" / "replay.md").read_text().split("## Worked example")[1]
STEPS = re.findall(r"```(sh|sql)\n(.+?)\n```\n\n```text\n(.+?)```", PAGE, re.DOTALL)


def without_hashes(text: str) -> str:
    return re.sub(r"\([0-9a-f]{12}\)", "(hash)", text)


@pytest.mark.timeout(240)
def test_the_worked_example(system: System, database_url: str) -> None:
    """Replayed, compared, charged once, asked for in SQL, removed."""
    ledger = Ledger(database_url)
    ledger.create_customer("acme")
    system.start(gateways=0)
    ids = [f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2, 3, 4)]
    events = [event("acme", event_id=one) for one in ids]
    raw = Topics(system.environment["TOPIC_PREFIX"]).raw

    create_topic(system.environment["KAFKA_BOOTSTRAP_SERVERS"], "old.events", 1, {})

    async def send(producer: AIOKafkaProducer) -> None:
        places: list[tuple[str, dict[str, Any]]] = [(raw, one) for one in events[:3]]
        places += [("old.events", one) for one in events[2:]]
        for topic, one in places:
            await producer.send_and_wait(topic, json.dumps(one).encode(), partition=0)

    produce(system, send)
    ledger.wait_until_charged(*ids[:3])

    assert len(STEPS) > 4
    for language, command, expected in STEPS:
        if language == "sh":
            printed = system.burnstream(*shlex.split(command)[1:], check=False).stdout
        else:
            psql = [str(psql_path()), "-X", database_url, "-c", command]
            printed = subprocess.run(psql, capture_output=True, text=True, check=True).stdout
        assert without_hashes(printed.strip()) == without_hashes(expected.strip()), command

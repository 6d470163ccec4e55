"""The worked examples of docs/replay.md and docs/reprice.md."""

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

STEP = re.compile(r"```(sh|sql)\n(.+?)\n```\n\n```text\n(.+?)```", re.DOTALL)
IDS = [f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2, 3, 4)]


def example_of(page: str) -> str:
    """The worked example of a page."""
    return (REPOSITORY / "docs" / page).read_text().split("## Worked example")[1]


def without_hashes(text: str) -> str:
    return re.sub(r"\([0-9a-f]{12}\)", "(hash)", text)


def require_steps(system: System, database_url: str, example: str) -> None:
    """Each command prints what the page prints."""
    steps = STEP.findall(example)
    assert len(steps) > 2
    for language, command, expected in steps:
        if language == "sh":
            printed = system.burnstream(*shlex.split(command)[1:], check=False).stdout
        else:
            psql = [str(psql_path()), "-X", database_url, "-c", command]
            printed = subprocess.run(psql, capture_output=True, text=True, check=True).stdout
        assert without_hashes(printed.strip()) == without_hashes(expected.strip()), command


def send(system: System, *places: tuple[str, dict[str, Any]]) -> None:
    """Write events to topics, one after the other."""

    async def run(producer: AIOKafkaProducer) -> None:
        for topic, one in places:
            await producer.send_and_wait(topic, json.dumps(one).encode(), partition=0)

    produce(system, run)


@pytest.fixture
def ledger(system: System, database_url: str) -> Ledger:
    """Three events of acme, charged."""
    found = Ledger(database_url)
    found.create_customer("acme")
    system.start(gateways=0)
    raw = Topics(system.environment["TOPIC_PREFIX"]).raw
    send(system, *((raw, event("acme", event_id=one)) for one in IDS[:3]))
    found.wait_until_charged(*IDS[:3])
    return found


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("ledger")
def test_a_replay(system: System, database_url: str) -> None:
    """Replayed, compared, charged once, asked for in SQL, removed."""
    create_topic(system.environment["KAFKA_BOOTSTRAP_SERVERS"], "old.events", 1, {})
    send(system, *(("old.events", event("acme", event_id=one)) for one in IDS[2:]))
    require_steps(system, database_url, example_of("replay.md"))


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("ledger")
def test_a_repricing(system: System, database_url: str) -> None:
    """Told, corrected, asked for in SQL; the price file is the page's."""
    file, example = example_of("reprice.md").split("```text\n", 1)[1].split("```", 1)
    (system.folder / "twice.csv").write_text(file)
    require_steps(system, database_url, example)

"""Each case of the guide's troubleshooting: the thing is really away, the process really runs.

What the guide's first column prints in backticks is what a command says or a process logs.
"""

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psycopg
import pytest

from deploy.local.ports import LOOPBACK, free_port
from deploy.local.servers import REPOSITORY, LocalServers
from sinks.migrations import migrate
from tests.integration.operations.kafka_records import create_topic
from tests.system import System, Worker
from tests.waiting import wait_until

TIMEOUT_SECONDS = 60.0

pytestmark = pytest.mark.timeout(300)


def _guide() -> list[str]:
    """What is seen, of each row of the guide's table."""
    text = (REPOSITORY / "docs" / "guide.md").read_text()
    section = text.split("## Troubleshooting", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)


def seen(phrase: str, text: str) -> None:
    """The guide prints the phrase, and the text has it (`...` stands for what differs)."""
    assert any(f"`{phrase}`" in row for row in _guide()), phrase
    pattern = ".*".join(map(re.escape, phrase.split("...")))
    assert re.search(pattern, text), text


@pytest.fixture
def system(tmp_path: Path, addresses: dict[str, str]) -> Iterator[System]:
    """Processes and commands of one installation; nothing runs yet, no topic is made."""
    with System(tmp_path, addresses) as opened:
        yield opened


def run_to_its_end(system: System, module: str) -> "subprocess.CompletedProcess[str]":
    """Run a process that must end by itself."""
    return subprocess.run(
        [sys.executable, "-m", module],
        env=system.environment,
        cwd=system.folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def start(system: System, module: str) -> Worker:
    """Start one process without waiting for what it waits for."""
    workers = {"gateway": system.gateways, "streams": system.streams, "sinks": system.sinks}
    worker = Worker(module, 0, system.folder, system.environment)
    workers[module].append(worker)
    worker.start()
    return worker


def logged(worker: Worker, event: str) -> dict[str, Any]:
    """Wait for a line of the worker's log."""

    def found() -> dict[str, Any] | None:
        assert worker.pid is not None, worker.last_words()
        return next((line for line in worker.log_records if line.get("event") == event), None)

    return wait_until(found, TIMEOUT_SECONDS, f"{worker.name} logs {event!r}") or {}


def refused(system: System, exit_code: int, *arguments: str) -> str:
    """What a command says on stderr, in one line, when it ends with this exit code."""
    done = system.burnstream(*arguments, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (exit_code, 1), done
    assert "Traceback" not in done.stderr
    return done.stderr


def doctor(system: System, exit_code: int) -> dict[str, str]:
    """What the doctor finds wrong or away, by subject."""
    done = system.burnstream("doctor", "--json", check=False)
    assert done.returncode == exit_code, done
    assert done.stderr == ""
    found = json.loads(done.stdout)["findings"]
    return {one["subject"]: one["says"] for one in found if one["health"] != "ok"}


@pytest.mark.parametrize("module", ["gateway", "streams", "sinks"])
def test_a_wrong_variable_ends_a_process_with_one_line(module: str, tmp_path: Path) -> None:
    """`python -m ...` says which variable, what it was, what it may be; exit code 2."""
    with System(tmp_path, {"METRICS_PORT": "70000"}) as system:
        done = run_to_its_end(system, module)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    seen("METRICS_PORT='70000': expected: less than or equal to 65535", done.stderr)


@pytest.mark.parametrize(
    ("module", "variable", "value", "says"),
    [
        ("streams", "STATE_DIR", "/dev/null", "STATE_DIR='...': expected: a folder to write to"),
        ("sinks", "STATE_DIR", "/dev/null", "STATE_DIR='...': expected: a folder to write to"),
        ("gateway", "HOST", "203.0.113.7", ""),
    ],
)
def test_a_variable_that_does_not_fit_the_machine_is_one_line(
    module: str, variable: str, value: str, says: str, tmp_path: Path
) -> None:
    """A folder that cannot be written to, another machine's address: exit code 2."""
    with System(tmp_path, {variable: value}) as system:
        done = run_to_its_end(system, module)

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"{variable}='{value}': expected: ")
    if says:
        seen(says, done.stderr)


def test_postgres_away(system: System, local_servers: LocalServers) -> None:
    """Stopped: commands end with 69 and say where, a sink waits and goes on when it is back."""
    system.burnstream("topics")
    postgres = local_servers.postgres
    assert postgres is not None
    postgres.stop()
    try:
        said = refused(system, 69, "audit")
        sink = start(system, "sinks")
        line = logged(sink, "Postgres is away, waiting")
        seen("Postgres is away, waiting", line["event"])
    finally:
        postgres.start()

    place = f"{LOOPBACK}:{postgres.port}/"
    seen("Postgres at ...: connection failed", said)
    assert place in said
    assert place in line["address"]
    for remedy in (said, line["remedy"]):
        assert "is DATABASE_URL right? `make up` starts" in remedy
    password = ":admin@"
    assert password not in said + sink.log
    logged(sink, "Publishing prices")


def test_kafka_away(system: System, local_servers: LocalServers) -> None:
    """Stopped: commands end with 69 and say where, workers wait and go on when it is back."""
    system.burnstream("topics")
    kafka = local_servers.kafka
    assert kafka is not None
    kafka.stop()
    try:
        said = [
            refused(system, 69, "topics"),
            refused(system, 69, "quarantine", "0", "0", "--reason", "r", "--by", "b"),
        ]
        worker, gateway = start(system, "streams"), start(system, "gateway")
        lines = [
            logged(worker, "Waiting for Kafka"),
            logged(gateway, "Kafka is not reachable, trying on"),
        ]
    finally:
        kafka.start()

    for text in said:
        seen("Kafka at ...: KafkaConnectionError", text)
        assert local_servers.kafka_bootstrap in text
        assert "is KAFKA_BOOTSTRAP_SERVERS right? `make up` starts" in text
    for line in lines:
        assert line["address"] == local_servers.kafka_bootstrap
        assert "make up" in line["remedy"]
    seen("Waiting for Kafka", lines[0]["event"])
    logged(worker, "Prices read")
    logged(gateway, "Queue initialized successfully")


def test_redis_away(system: System, local_servers: LocalServers) -> None:
    """Stopped: the doctor says where, a gateway says so once and answers all the same."""
    system.burnstream("topics")
    redis = local_servers.redis
    assert redis is not None
    gateway = start(system, "gateway")
    logged(gateway, "Queue initialized successfully")
    redis.stop()
    try:
        said = doctor(system, 69)["Redis"]
        with urlopen(f"{system.gateway_url}/health", timeout=10) as answer:  # noqa: S310 -- ours
            assert answer.status == 200
        line = logged(gateway, "Service away, going on without it")
    finally:
        redis.start()

    seen("Redis at ...: Error 111", said)
    assert f"{LOOPBACK}:{redis.port}" in said
    assert "is REDIS_URL right? `make up` starts" in said
    seen("Service away, going on without it", line["event"])
    assert f"{LOOPBACK}:{redis.port}" in line["address"]
    assert "REDIS_URL" in line["remedy"]


def test_schema_not_migrated(tmp_path: Path, addresses: dict[str, str], database_url: str) -> None:
    """An empty database: commands name `burnstream migrate`, a sink waits until it was called."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    with System(tmp_path, addresses) as system:
        said = refused(system, 1, "audit")
        create = ("customer", "create", "--id", "c", "--name", "c", "--email", "c@example.com")
        also_said = refused(system, 1, *create)
        found = doctor(system, 1)["schema"]
        sink = start(system, "sinks")
        line = logged(sink, "Waiting for the schema")
        system.burnstream("migrate")
        logged(sink, "Waiting for topics")

    seen("the database lacks ...", said)
    seen("Waiting for the schema", line["event"])
    for text in (said, also_said, found, line["remedy"]):
        assert "run `burnstream migrate`" in text


def test_topics_missing(system: System) -> None:
    """Commands that need them say so at once, processes wait until `burnstream topics`."""
    said = refused(system, 1, "quarantine", "0", "0", "--reason", "r", "--by", "b")
    found = doctor(system, 1)["topics"]
    worker, gateway = start(system, "streams"), start(system, "gateway")
    lines = [logged(one, "Waiting for topics") for one in (worker, gateway)]
    system.burnstream("topics")

    seen("lacks usage.raw", said.replace(system.environment["TOPIC_PREFIX"], ""))
    seen("Waiting for topics", lines[0]["event"])
    for text in (said, found, *(line["remedy"] for line in lines)):
        assert "run `burnstream topics`" in text
    logged(worker, "Prices read")
    logged(gateway, "Queue initialized successfully")


def test_topics_drifted(system: System, kafka_bootstrap: str, topic_prefix: str) -> None:
    """A setting that somebody changed is named by `topics` and doctor, with what puts it back."""
    create_topic(
        kafka_bootstrap, f"{topic_prefix}usage.raw", 4, {"message.timestamp.type": "CreateTime"}
    )
    said = refused(system, 1, "topics")

    seen("message.timestamp.type is CreateTime, expected LogAppendTime", said)
    assert "kafka-configs --alter" in said
    # The others were not made: the doctor names that first.
    assert "run `burnstream topics`" in doctor(system, 1)["topics"]


def _send(system: System, api_key: str, customer_id: str) -> str:
    """Send one event over HTTP; its id."""
    event_id = str(uuid.uuid4())
    event = {
        "event_id": event_id,
        "customer_id": customer_id,
        "event_type": "TOKEN_USAGE",
        "feature_id": "f",
        "provider": "OPENAI",
        "model": "gpt-4-turbo",
        "input_tokens": 1000,
        "output_tokens": 500,
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
    request = Request(  # noqa: S310 -- our own address
        f"{system.gateway_url}/v1/events/ingest",
        json.dumps({"events": [event]}).encode(),
        {"x-api-key": api_key, "content-type": "application/json"},
    )
    try:
        with urlopen(request, timeout=20) as answer:  # noqa: S310 -- our own address
            assert answer.status == 202
    except HTTPError as error:
        raise AssertionError(error.read().decode()) from error
    return event_id


def test_costs_not_seeded(system: System, database_url: str) -> None:
    """An event becomes a letter UNPRICED; after `burnstream seed` it is charged by itself."""
    assert migrate(database_url) == []
    system.burnstream("topics", "--partitions", "1")
    created = system.burnstream(
        *("customer", "create", "--id", "c1", "--name", "C", "--email", "c@example.com"),
        *("--credits", "1000", "--json"),
    )
    seen("no provider cost is in force", doctor(system, 1)["prices"])
    system.start()
    event_id = _send(system, json.loads(created.stdout)["api_key"], "c1")

    def letters() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            system.burnstream("dead-letters", "list", "--json").stdout
        )
        return found

    (letter,) = wait_until(letters, 2 * TIMEOUT_SECONDS, "the event is a dead letter")
    assert (letter["event_id"], letter["reason"]) == (event_id, "UNPRICED")
    assert "burnstream seed" in system.burnstream("dead-letters", "list").stdout
    assert any("UNPRICED" in row for row in _rows_of_the_guide())
    assert "burnstream seed" in doctor(system, 1)["dead letters"]

    system.burnstream("seed")

    def balance() -> bool:
        with psycopg.connect(database_url) as connection:
            query = "SELECT balance FROM \"CreditWallet\" WHERE customer_id = 'c1'"
            return connection.execute(query).fetchone() == (985,)

    wait_until(balance, 2 * TIMEOUT_SECONDS, "the letter has charged itself")
    assert doctor(system, 0) == {}


def _rows_of_the_guide() -> list[str]:
    text = (REPOSITORY / "docs" / "guide.md").read_text()
    return [line for line in text.splitlines() if line.startswith("| ")]


def test_a_taken_port_ends_run_with_one_line(tmp_path: Path) -> None:
    """`burnstream run` names the port and the variable; exit code 2."""
    import socket

    port = free_port()
    with System(tmp_path, {"PORT": str(port)}) as system, socket.create_server((LOOPBACK, port)):
        said = refused(system, 2, "run")

    seen("port ... is already in use", said)
    assert "PORT" in said

"""Voids and replacements over HTTP and by command: the record that Kafka has afterwards."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.local.servers import REPOSITORY
from gateway.settings import GatewaySettings
from schemas.corrections import Correction, read_correction
from schemas.topics import PARTITIONS_DEFAULT, partition_for_key
from tests.integration.gateway.conftest import Gateways, RealGateway, add_customer, read_all
from tests.unit.gateway.fakes import CUSTOMER, EVENT
from tests.unit.gateway.test_amend import REASON, VOID, VOIDED

OTHER_KEY = "om_test_other"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PAGE = (REPOSITORY / "docs" / "amend.md").read_text()
EXAMPLES = re.findall(r"```sh\n(.+?)```\n\n```(?:text|json)\n(.+?)```", PAGE, re.DOTALL)
# Of an answer: what no run has in common with the page.
VARYING = re.compile(r"batch_[\w.-]+|(?<=ms\":)\d+|\d+:\d+(?= of usage)")
BODY = json.dumps(REASON).encode()
WITH_EVENT = json.dumps(REASON | {"event": EVENT}).encode()


def check(record: Any, expected: Correction, **headers: bytes) -> None:
    """Assert that a record is this correction, where the customer's events are."""
    assert record.key == CUSTOMER.encode()
    assert record.partition == partition_for_key(CUSTOMER.encode(), PARTITIONS_DEFAULT)
    assert dict(record.headers) == {"format": b"2"} | headers
    assert read_correction(record.value) == expected


async def test_a_void_and_a_replacement_are_in_kafka(gateway: RealGateway) -> None:
    """One record each, behind the events of their customer, with the caller's trace."""
    await gateway.ingest(json.dumps({"events": [EVENT]}).encode())
    voided = await gateway.post(f"/v1/events/{VOIDED}/void", BODY, traceparent=TRACE)
    replaced = await gateway.post(f"/v1/events/{VOIDED.upper()}/replace", WITH_EVENT)

    assert (voided[0], replaced[0]) == (202, 202)
    assert (voided[1]["event_id"], replaced[1]["event_id"]) == (VOIDED, VOIDED)
    assert replaced[1]["replaced_by"] == EVENT["event_id"]
    _, first, second = await gateway.records()
    check(first, Correction(VOID), traceparent=TRACE.encode())  # type: ignore[arg-type]
    check(second, Correction(VOID, EVENT))  # type: ignore[arg-type]
    for _, answer in (voided, replaced):
        assert await gateway.get(f"/v1/batches/{answer['batch_id']}") == (
            200,
            {"batch_id": answer["batch_id"], "events": 1, "status": "queued"},
        )


async def test_a_tenant_corrects_its_own_events_only(
    gateway: RealGateway, ledger: psycopg.Connection[Any]
) -> None:
    """A void is of the key's customer, whoever's the id is; the new event must be theirs, too."""
    add_customer(ledger, "other", OTHER_KEY)
    path = f"/v1/events/{VOIDED}"
    foreign, answer = await gateway.post(f"{path}/replace", WITH_EVENT, x_api_key=OTHER_KEY)
    named, _ = await gateway.post(
        f"{path}/void",
        json.dumps(REASON | {"customer_id": CUSTOMER}).encode(),
        x_api_key=OTHER_KEY,
    )
    assert (foreign, answer["error"], named) == (403, "FORBIDDEN", 400)
    assert (await gateway.post(f"{path}/void", BODY, x_api_key="om_test_nobody"))[0] == 401
    assert await gateway.records() == []

    status, answer = await gateway.post(f"{path}/void", BODY, x_api_key=OTHER_KEY)
    assert status == 202
    (record,) = await gateway.records()
    assert record.key == b"other"
    assert read_correction(record.value).void["customer_id"] == "other"
    assert (await gateway.get(f"/v1/batches/{answer['batch_id']}"))[0] == 404


async def test_a_wrong_body_is_told_by_field_and_not_written(gateway: RealGateway) -> None:
    """Every field that is wrong, in one answer."""
    body = {"reason": 5, "event": EVENT | {"feature_id": None, "timestamp": "yesterday"}}
    status, answer = await gateway.post(f"/v1/events/{VOIDED}/replace", json.dumps(body).encode())

    assert status == 400
    assert answer["details"].keys() == {"_errors", "reason", "event"}
    assert answer["details"]["event"].keys() == {"_errors", "feature_id", "timestamp"}
    assert await gateway.records() == []


async def test_corrections_count_as_requests(gateways: Gateways) -> None:
    """The customer's rate limit holds for them; a body has the limit of all bodies."""
    gateway = await gateways.start(rate_limit_max=2, body_bytes_max=1_000)
    path = f"/v1/events/{VOIDED}/void"
    large = json.dumps({"reason": "x" * 2_000}).encode()

    statuses = [(await gateway.post(path, body))[0] for body in (BODY, large, BODY)]

    assert statuses == [202, 413, 429]


def run(settings: GatewaySettings, *arguments: str, text: str | None = None) -> Any:
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "TOPIC_PREFIX": settings.topic_prefix,
    }
    return CliRunner().invoke(app, list(arguments), env=environment, input=text)


async def test_the_commands_write_the_same_records(
    settings: GatewaySettings, tmp_path: Path
) -> None:
    """By file and by stdin; what they print says where the record is."""
    options = ["--customer", CUSTOMER, "--reason", REASON["reason"]]
    text = json.dumps(EVENT)
    (tmp_path / "event.json").write_text(text)
    calls: list[tuple[list[str], str | None]] = [
        (["void", VOIDED.upper(), *options, "--by", "ann"], None),
        (["amend", VOIDED, *options, "--event", str(tmp_path / "event.json")], None),
        (["amend", VOIDED, *options, "--event", "-", "--json"], text),
    ]
    done = [
        await asyncio.to_thread(run, settings, *arguments, text=given) for arguments, given in calls
    ]

    assert [one.exit_code for one in done] == [0, 0, 0], done
    records = await read_all(settings)
    check(records[0], Correction(VOID | {"requested_by": "ann"}))  # type: ignore[arg-type]
    places = [f"{record.partition}:{record.offset}" for record in records]
    topic = settings.topics.raw
    assert done[0].stdout == f"{VOIDED} is to be voided: record {places[0]} of {topic}\n"
    for record in records[1:]:
        check(record, Correction(VOID, EVENT))  # type: ignore[arg-type]
    assert json.loads(done[2].stdout) == {
        "event_id": VOIDED,
        "replaced_by": EVENT["event_id"],
        "topic": topic,
        "record": places[2],
    }


@pytest.mark.parametrize("topic_prefix", ["missing-"])
async def test_a_missing_topic_is_said(kafka_bootstrap: str, topic_prefix: str) -> None:
    """At once, with the remedy: a producer would wait for it."""
    settings = GatewaySettings(
        _env_file=None, kafka_bootstrap_servers=kafka_bootstrap, topic_prefix=topic_prefix
    )
    done = await asyncio.to_thread(
        run, settings, "void", VOIDED, "--customer", CUSTOMER, "--reason", "x"
    )

    assert done.exit_code == 1
    assert "burnstream topics" in done.stderr


async def test_the_pages_examples_give_what_it_prints(
    gateway: RealGateway, ledger: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """Run as printed, but for addresses, keys and what a run decides: ids, places, times."""
    add_customer(ledger, "acme", OTHER_KEY)
    settings = gateway.settings
    (file,) = re.findall(r"`corrected.json`:\n\n```json\n(.+?)```", PAGE, re.DOTALL)
    (tmp_path / "corrected.json").write_text(file)
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "TOPIC_PREFIX": settings.topic_prefix,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    for command, printed in EXAMPLES:
        program = command.replace("http://127.0.0.1:8081", gateway.url)
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euc", program.replace("om_live_...", OTHER_KEY)),
            cwd=tmp_path,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        )
        said = (await process.communicate())[0].decode()
        assert process.returncode == 0
        said = said.replace(settings.topic_prefix, "").rstrip()
        assert VARYING.sub("?", said) == VARYING.sub("?", printed.rstrip())

    records = await gateway.records()
    assert [record.key for record in records] == [b"acme"] * len(EXAMPLES)
    corrections = [read_correction(record.value) for record in records]
    assert [one.event is not None for one in corrections] == [False, True] * 2
    assert corrections[0] == corrections[2]
    assert corrections[1] == corrections[3]

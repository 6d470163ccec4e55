"""The Python client against the real gateway, which is killed under it."""

import asyncio
import json
import logging
import re
import threading
from collections import defaultdict
from functools import partial
from typing import Any

import pytest

from burnstream_client import Client, Refusal
from schemas.topics import PARTITIONS_DEFAULT, Topics
from tests.e2e.ledger import Ledger
from tests.e2e.producers import CREDITS, wait_until_all_is_applied
from tests.integration.operations.kafka_records import records_of
from tests.system import REPOSITORY, System
from tests.waiting import wait_until

THREADS = 4
EVENTS_PER_THREAD = 400
KILLS = 3
FLUSH_TIMEOUT_SECONDS = 60.0


@pytest.fixture
def environment() -> dict[str, str]:
    return {"RATE_LIMIT_MAX": "0"}


def _raw_events(system: System) -> dict[str, list[dict[str, Any]]]:
    """Every event that the gateway wrote, by its id, as often as it stands in `usage.raw`."""
    bootstrap = system.environment["KAFKA_BOOTSTRAP_SERVERS"]
    raw = Topics(system.environment["TOPIC_PREFIX"]).raw
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for partition in range(PARTITIONS_DEFAULT):
        for record in asyncio.run(records_of(bootstrap, raw, partition)):
            for event in json.loads(record.value).get("events", ()):
                found[event["event_id"]].append(event)
    return found


def _kill_and_start_again(system: System, client: Client, ids: list[str]) -> None:
    """Kill the gateway while events wait for it, as often as told, the load going on."""
    (gateway,) = system.gateways
    for kill in range(1, KILLS + 1):
        share = kill * THREADS * EVENTS_PER_THREAD // (KILLS + 1)
        is_under_way = partial(lambda share: len(ids) >= share and len(client) > 0, share)
        wait_until(is_under_way, 60, "events are on their way")
        gateway.kill()
        gateway.start()


@pytest.mark.timeout(240)
def test_a_gateway_killed_under_the_client_costs_nothing(
    system: System, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Threads track while it is killed and started again: all is in Kafka, and charged once."""
    ledger = Ledger(database_url)
    api_key = ledger.create_customer("cust-a")
    system.start()
    refused: list[Refusal] = []
    ids: list[str] = []

    with (
        caplog.at_level(logging.WARNING, "burnstream_client"),
        Client(
            system.gateway_url,
            api_key,
            customer_id="cust-a",
            on_refused=refused.append,
            batch_events=20,
            batch_seconds=0.05,
            # Small: the threads wait for room, so that they are still there at the last kill.
            buffer_events=100,
            block_seconds=60.0,
            backoff_seconds=(0.05, 0.5),
        ) as client,
    ):

        def track() -> None:
            for _ in range(EVENTS_PER_THREAD):
                ids.append(  # noqa: PERF401 -- the killer counts them meanwhile
                    client.track(
                        "TOKEN_USAGE",
                        "chat",
                        provider="OPENAI",
                        model="gpt-4-turbo",
                        input_tokens=1000,
                        output_tokens=500,
                    )
                )

        threads = [threading.Thread(target=track) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        _kill_and_start_again(system, client, ids)
        for thread in threads:
            thread.join(FLUSH_TIMEOUT_SECONDS)
        assert client.flush(FLUSH_TIMEOUT_SECONDS)
    wait_until_all_is_applied(system, ledger)

    assert refused == []
    assert len(ids) == len(set(ids)) == THREADS * EVENTS_PER_THREAD
    assert "Events not taken" in caplog.text
    raw = _raw_events(system)
    assert {one for one in ids if not raw[one]} == set()
    assert all(copy == raw[one][0] for one in ids for copy in raw[one])
    charged = {one: cost for one, cost in ledger.charged().items() if cost}
    assert charged == dict.fromkeys(ids, CREDITS)
    assert ledger.balance("cust-a") == 1_000_000 - len(ids) * CREDITS
    system.burnstream("audit", "--log")


@pytest.mark.timeout(240)
def test_the_example_of_the_page_charges_what_it_says(
    system: System, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What docs/client.md shows runs as it stands there, and the bad event comes back."""
    ledger = Ledger(database_url)
    monkeypatch.setenv("BURNSTREAM_API_KEY", ledger.create_customer("cust-a"))
    monkeypatch.setenv("BURNSTREAM_URL", system.gateway_url)
    system.start()
    page = (REPOSITORY / "docs" / "client.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}

    exec(compile(example, "docs/client.md", "exec"), names)  # noqa: S102 -- our own page

    wait_until_all_is_applied(system, ledger)
    assert {cost for cost in ledger.charged().values() if cost} == {CREDITS}
    assert ledger.balance("cust-a") == 1_000_000 - CREDITS
    ((refusal),) = names["refused"]
    assert (refusal.event["feature_id"], refusal.status) == ("drawing", 400)
    assert "image_count" in refusal.reason

"""Over HTTP one tenant neither sees nor suppresses what is another's."""

import json
import uuid
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.e2e.ledger import Ledger
from tests.e2e.producers import CREDITS, event
from tests.system import System
from tests.waiting import wait_until

ADMIN_KEY = "key-of-an-operator"


@pytest.fixture
def environment() -> dict[str, str]:
    return {"ADMIN_API_KEY": ADMIN_KEY}


def ask(url: str, api_key: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """One request: its status, its JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(  # noqa: S310 -- our own address
        url,
        data,
        {"Content-Type": "application/json", "x-api-key": api_key},
    )
    try:
        with urlopen(request, timeout=30) as answer:  # noqa: S310 -- our own address
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, error.read()


@pytest.mark.timeout(240)
def test_tenants_are_nothing_to_each_other(system: System, database_url: str) -> None:
    """The same ids and keys are charged to both; another's batch, event, letter are not there."""
    ledger = Ledger(database_url)
    key_a, key_b = ledger.create_customer("cust-a"), ledger.create_customer("cust-b")
    system.start(consoles=1)
    gateway = system.gateway_url
    assert ask(f"{gateway}/v1/events/dlq", ADMIN_KEY)[0] == 401
    assert ask(f"{system.console_url}/customers", key_a)[0] == 401
    ids = {"event_id": str(uuid.uuid4()), "idempotency_key": "order-1"}
    same_key = {"idempotency_key": "order-2"}
    _, first = ask(
        f"{gateway}/v1/events/ingest",
        key_a,
        {"events": [event("cust-a", **ids), event("cust-a", **same_key)]},
    )
    wait_until(lambda: ledger.balance("cust-a") == 1_000_000 - 2 * CREDITS, 60, "a is charged")
    status, second = ask(
        f"{gateway}/v1/events/ingest",
        key_b,
        {"events": [event("cust-b", **ids), event("cust-b", **same_key)]},
    )
    assert status < 300, second
    wait_until(lambda: ledger.balance("cust-b") == 1_000_000 - 2 * CREDITS, 60, "b is charged, too")

    status, _ = ask(f"{gateway}/v1/events/ingest", key_b, {"events": [event("cust-a")]})
    assert status == 403
    batch = first["batch_id"]
    assert ask(f"{gateway}/v1/batches/{batch}", key_a)[0] == 200
    assert ask(f"{gateway}/v1/batches/{batch}", key_b)[0] == 404

    unpriced = event("cust-a", model="of-nobody")
    ask(f"{gateway}/v1/events/ingest", key_a, {"events": [unpriced]})
    wait_until(lambda: bool(ledger.letters()), 60, "a letter is there")
    assert unpriced["event_id"] in json.dumps(ask(f"{gateway}/v1/events/dlq", key_a)[1])
    assert unpriced["event_id"] not in json.dumps(ask(f"{gateway}/v1/events/dlq", key_b)[1])
    assert ask(f"{gateway}/v1/events/{unpriced['event_id']}", key_b)[0] == 404
    assert ledger.balance("cust-a") == 1_000_000 - 2 * CREDITS

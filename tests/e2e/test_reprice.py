"""`burnstream reprice`: what was charged at other prices; corrections are written, never edits."""

import csv
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from schemas.topics import Topics
from tests.e2e.ledger import Ledger
from tests.e2e.producers import CREDITS, event, produce, value_of, wait_until_all_is_applied
from tests.system import System

CUSTOMER, OWN_RATES = "cust-reprice", "cust-reprice-own"
BEGUN_WITH = 1_000_000
EVENTS = 60
FREE = {"gpt-4-turbo": {"per_unit": 1000, "input_tokens": 0, "output_tokens": 0}}
# Ends itself within the third transaction of corrections, after it has written all of it.
KILLED = """
import os, signal
from deploy.jobs import reprice
reprice.EVENTS_PER_TRANSACTION = 10
write, count = reprice._write, 0
def write_and_die(*arguments):
    global count
    written = write(*arguments)
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return written
reprice._write = write_and_die
from deploy.cli import main
main()
"""


@pytest.fixture
def ledger(system: System, database_url: str) -> Ledger:
    """Two customers' charged events; those of one were free, by a burn table."""
    found = Ledger(database_url)
    found.create_customer(CUSTOMER)
    found.create_customer(OWN_RATES)
    found.rows(
        'INSERT INTO "BurnTable" (customer_id, name, rules, valid_from)'
        " VALUES (%s, 'free', %s, '2020-01-01')",
        OWN_RATES,
        json.dumps(FREE),
    )
    system.start(gateways=0)
    raw = Topics(system.environment["TOPIC_PREFIX"]).raw

    async def send(producer: AIOKafkaProducer) -> None:
        for customer in [CUSTOMER] * EVENTS + [OWN_RATES] * 3:
            await producer.send(raw, value_of(event(customer)), key=customer.encode())
        await producer.flush()

    produce(system, send)
    wait_until_all_is_applied(system, found)
    return found


def reprice(system: System, *arguments: str) -> Any:
    return json.loads(system.burnstream("reprice", *arguments, "--json").stdout)


def transactions(ledger: Ledger) -> dict[str, Any]:
    return {one["id"]: one for one in ledger.rows('SELECT * FROM "CreditTransaction"')}


def doubled(ledger: Ledger, path: Path) -> Path:
    """A price file: gpt-4-turbo at twice its price."""
    rows = ledger.rows(
        "SELECT id, provider, model, cost_type, cost_per_unit * 2 AS cost_per_unit, unit_size"
        " FROM \"ProviderCost\" WHERE provider = 'OPENAI' AND model = 'gpt-4-turbo'"
    )
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.timeout(300)
def test_what_was_charged_is_corrected_once(system: System, ledger: Ledger, tmp_path: Path) -> None:
    """Dry first; killed amid applying; repeated; the other way round by a second job."""
    assert ledger.balance(CUSTOMER) == BEGUN_WITH - EVENTS * CREDITS
    assert ledger.balance(OWN_RATES) == BEGUN_WITH
    billed = transactions(ledger)
    prices = doubled(ledger, tmp_path / "doubled.csv")
    rates = tmp_path / "rates.json"
    rule = {"per_unit": 1000, "input_tokens": 2, "output_tokens": 0}
    rates.write_text(json.dumps({"customer_id": OWN_RATES, "rules": {"gpt-4-turbo": rule}}))
    folder = tmp_path / "report"
    asked = ("up", "--prices", str(prices), "--burn-table", str(rates), "--report", str(folder))

    dry = reprice(system, *asked)
    assert (dry["written"], dry["corrections"]["events"]) == (0, 0)
    assert dry["total"]["events_changed"] == EVENTS + 3
    assert dry["total"]["credits_before"] == dry["total"]["credits_billed"] == EVENTS * CREDITS
    assert dry["total"]["credits_after"] == EVENTS * CREDITS * 2 + 3 * 2
    assert transactions(ledger) == billed
    with (folder / "reprice.csv").open() as file:
        told = {(one["customer_id"], one["model"]): one for one in csv.DictReader(file)}
    assert told[CUSTOMER, "gpt-4-turbo"]["credits_difference"] == str(EVENTS * CREDITS)
    assert told[OWN_RATES, "gpt-4-turbo"]["credits_after"] == "6"
    assert told[CUSTOMER, "gpt-4-turbo"]["day"] == "2025-06-01"
    assert f"{EVENTS * CREDITS * 2:,}" in (folder / "reprice.html").read_text()

    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "reprice", "up", "--apply"],
        capture_output=True,
        cwd=system.folder,
        env=system.environment,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(transactions(ledger)) == len(billed) + 20
    done = reprice(system, "up", "--apply")
    assert done["written"] == EVENTS + 3 - 20
    assert done["corrections"]["credits_taken"] == EVENTS * CREDITS + 6
    assert ledger.balance(CUSTOMER) == BEGUN_WITH - EVENTS * CREDITS * 2
    assert ledger.balance(OWN_RATES) == BEGUN_WITH - 6
    assert {name: transactions(ledger)[name] for name in billed} == billed
    system.burnstream("audit", "--log")

    back = reprice(system, "back", "--apply", "--format", "parquet", "--report", str(folder))
    assert back["corrections"]["credits_given_back"] == EVENTS * CREDITS + 6
    assert (folder / "reprice.parquet").exists()
    assert reprice(system, "up", "--apply")["written"] == 0
    assert reprice(system, "back", "--apply")["written"] == 0
    assert ledger.balance(CUSTOMER) == BEGUN_WITH - EVENTS * CREDITS
    assert ledger.balance(OWN_RATES) == BEGUN_WITH
    rows = ledger.rows("SELECT credits, credits_corrected FROM charges_corrected")
    assert all(one["credits"] == one["credits_corrected"] for one in rows)
    linked = ledger.rows(
        'SELECT DISTINCT job, burn.transaction_type FROM corrections LEFT JOIN "CreditTransaction"'
        " AS burn ON burn.id = corrects AND burn.usage_event_id = event_id"
        " WHERE corrections.customer_id = %s ORDER BY job",
        CUSTOMER,
    )
    assert [tuple(one.values()) for one in linked] == [("back", "BURN"), ("up", "BURN")]
    system.burnstream("audit")


@pytest.mark.timeout(240)
def test_what_was_known_when(system: System, ledger: Ledger, tmp_path: Path) -> None:
    """By today's knowledge of a price that was raised since, and by that of before."""
    before = datetime.now(UTC).isoformat()
    ledger.rows(
        'UPDATE "ProviderCost" SET cost_per_unit = cost_per_unit * 3'
        " WHERE provider = 'OPENAI' AND model = 'gpt-4-turbo'"
    )
    then = reprice(system, "then", "--known-at", before, "--customer", CUSTOMER)
    now = reprice(system, "now", "--customer", CUSTOMER)
    assert then["total"]["events"] == now["total"]["events"] == EVENTS
    assert then["total"]["credits_after"] == EVENTS * CREDITS
    assert now["total"]["credits_after"] == 3 * EVENTS * CREDITS

    def refused(*arguments: str) -> str:
        done = system.burnstream("reprice", *arguments, check=False)
        assert done.returncode in (1, 2)
        return done.stderr

    assert "zone" in refused("x", "--known-at", "2026-06-15")
    assert "begins later" in refused("x", "--known-at", "2020-06-15T00:00Z")
    assert "begun with" in refused("then", "--customer", OWN_RATES)
    assert "reprice then" in system.burnstream("replay", "then", check=False).stderr
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("provider,model,cost_type,cost_per_unit\nOPENAI,gpt-4-turbo,INPUT_TOKEN,-1\n")
    assert "wrong.csv" in refused("x", "--prices", str(wrong))
    assert "cannot be read" in refused("y", "--prices", str(tmp_path / "none.csv"))

"""`burnstream customer create` and `key rotate` on a real database, and the keys they make."""

import json
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from gateway.commands import app
from tests.integration.gateway.conftest import RealGateway
from tests.integration.gateway.test_ingest import batch


def _run(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def test_created_customer_has_a_wallet_and_keys_that_overlap(
    gateway: RealGateway, ledger: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first key works on for the overlap, or ends at once without one."""
    monkeypatch.setenv("DATABASE_URL", gateway.settings.database_url)
    create = ["customer", "create", "--id", "c1", "--name", "C", "--email", "c1@example.com"]
    first = _run(*create, "--credits", "500", "--test")

    wallet = ledger.execute(
        'SELECT id, balance FROM "CreditWallet" WHERE customer_id = %s', ["c1"]
    ).fetchone()
    assert wallet == ("wallet_c1", 500)
    assert first["api_key"].startswith("om_test_")

    second = _run("key", "rotate", "c1")
    for made in (first, second):
        status, _ = await gateway.ingest(batch(1, customer_id="c1"), x_api_key=made["api_key"])
        assert status in {200, 202}

    third = _run("key", "rotate", "c1", "--overlap-hours", "0")
    hashes = ledger.execute(
        'SELECT previous_api_key_hash FROM "Customer" WHERE id = %s', ["c1"]
    ).fetchone()
    assert hashes == (None,)
    assert third["previous_key_valid_until"] is None


def test_taken_id_and_unknown_customer_are_said_in_one_line(
    ledger: psycopg.Connection[Any], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is created by halves."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    create = ["customer", "create", "--name", "C", "--email", "c@example.com", "--id"]
    _run(*create, "c1")

    again = CliRunner().invoke(app, [*create, "c2"])
    unknown = CliRunner().invoke(app, ["key", "rotate", "nobody"])

    assert (again.exit_code, unknown.exit_code) == (1, 1)
    assert "c@example.com" in again.stderr
    assert "nobody" in unknown.stderr
    wallets = ledger.execute("SELECT count(*) FROM \"CreditWallet\" WHERE customer_id = 'c2'")
    assert wallets.fetchone() == (0,)

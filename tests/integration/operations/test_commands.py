"""Commands on the ledger: top-ups, audit's exit code, and what a wrong environment is told."""

import json
import threading
from typing import Any

import psycopg
import pytest

from sinks.audit import audit
from sinks.wallet_credit import credit
from tests.command_line import CommandLine
from tests.integration.operations import small_ledger

Connection = psycopg.Connection[Any]

CREDIT = ("wallet", "credit", "c1", "500", "--idempotency-key", "k1")


@pytest.fixture
def ledger(connection: Connection) -> Connection:
    small_ledger.build(connection)
    return connection


def test_credit_appends_to_the_chain(ledger: Connection, ledger_commands: CommandLine) -> None:
    """A top-up takes the next place of the chain, and the audit finds nothing."""
    entry = ledger_commands.succeed(*CREDIT, "--type", "GRANT", "--description", "welcome")
    assert (entry["wallet_id"], entry["wallet_seq"], entry["is_new"]) == ("w1", 3, True)
    assert (entry["balance_before"], entry["balance_after"]) == (955, 1455)
    assert entry["id"].startswith("txn-")
    assert audit(ledger).is_clean


def test_credit_is_idempotent_by_its_key(ledger: Connection, ledger_commands: CommandLine) -> None:
    """The same key credits once; another amount under it is refused in one line."""
    first = ledger_commands.succeed(*CREDIT)
    again = ledger_commands.succeed(*CREDIT)
    assert again == first | {"is_new": False}
    other = ledger_commands.run("wallet", "credit", "c1", "501", "--idempotency-key", "k1")
    assert other.exit_code == 1
    assert "stands for PURCHASE of 500 credits" in other.stderr
    assert other.stderr.count("\n") == 1
    assert audit(ledger).is_clean


def test_credit_of_a_customer_without_wallet(
    ledger: Connection, ledger_commands: CommandLine
) -> None:
    """A customer's own wallet is made when there is none, under the id that the sinks give it."""
    ledger.execute(
        'INSERT INTO "Customer" (id, name, email, api_key_hash) '
        "VALUES ('c4', 'Four', 'four@example.com', 'h4')"
    )
    entry = ledger_commands.succeed("wallet", "credit", "c4", "10", "--idempotency-key", "k")
    assert (entry["wallet_id"], entry["balance_after"]) == ("wallet_c4", 10)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("wallet", "credit", "nobody", "5", "--idempotency-key", "k"), "no customer 'nobody'"),
        ((*CREDIT, "--wallet", "w2"), "has no wallet 'w2'"),
        (
            ("wallet", "credit", "c1", str(2**63 - 1), "--idempotency-key", "k"),
            "would not fit in 64 bits",
        ),
    ],
)
def test_credit_is_refused(
    ledger: Connection, ledger_commands: CommandLine, arguments: tuple[str, ...], says: str
) -> None:
    """Unknown customers, other customers' wallets and overflow are refused; nothing is written."""
    outcome = ledger_commands.run(*arguments)
    assert outcome.exit_code == 1
    assert says in outcome.stderr
    row = ledger.execute('SELECT count(*) FROM "CreditTransaction"').fetchone()
    assert row == (3,)


def test_created_at_rises_although_the_clock_went_back(ledger: Connection) -> None:
    """A chain's times rise strictly, also behind an entry that is in the future."""
    ledger.execute(
        "UPDATE \"CreditTransaction\" SET created_at = now() + interval '1 hour' WHERE id = 'txn-2'"
    )
    for number in range(3):
        credit(ledger, customer_id="c1", amount=1, idempotency_key=f"k{number}")
    assert audit(ledger).is_clean


def test_concurrent_credits_keep_the_chain(ledger: Connection, database_url: str) -> None:
    """Top-ups at the same moment, some under one key, chain without a gap and credit once a key."""

    def top_up(worker: int) -> None:
        with psycopg.connect(database_url, autocommit=True) as own:
            for number in range(10):
                key = f"shared-{number}" if worker % 2 else f"{worker}-{number}"
                credit(own, customer_id="c1", amount=1, idempotency_key=key)

    threads = [threading.Thread(target=top_up, args=[worker]) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert audit(ledger).is_clean
    row = ledger.execute("SELECT balance FROM \"CreditWallet\" WHERE id = 'w1'").fetchone()
    assert row == (955 + 2 * 10 + 10,)


def test_audit_exits_0_only_when_clean(ledger: Connection, ledger_commands: CommandLine) -> None:
    """Clean is 0; a discrepancy is 1 and named, in text and in JSON; decisions stay as notes."""
    clean = ledger_commands.run("audit")
    assert clean.exit_code == 0
    assert "note: hole in usage.raw[1], epoch 0: 2 -> 4, by tester" in clean.stdout
    assert clean.stdout.endswith("clean\n")
    ledger.execute("UPDATE \"CreditWallet\" SET balance = 1 WHERE id = 'w2'")
    text, data = ledger_commands.run("audit"), ledger_commands.run("audit", "--json")
    assert (text.exit_code, data.exit_code) == (1, 1)
    assert "WALLET_BALANCE: 1: A wallet's balance" in text.stdout
    assert "wallet_id=w2, balance=1, last_balance_after=-15" in text.stdout
    assert [one["code"] for one in data.data["discrepancies"]] == ["WALLET_BALANCE"]
    assert data.data["clean"] is False


@pytest.mark.parametrize(
    "arguments",
    [
        ("audit",),
        ("seed",),
        ("topics",),
        ("dead-letters", "list"),
        ("repair", "new-epoch", "0", "--reason", "r"),
    ],
)
def test_postgres_away_is_one_line(arguments: tuple[str, ...]) -> None:
    """Every command says in one line that Postgres cannot be reached, where, and what to do."""
    outcome = CommandLine({"DATABASE_URL": "postgresql://admin:secret@127.0.0.1:1/db"}).run(
        *arguments
    )
    assert outcome.exit_code == 69
    assert "Postgres at 127.0.0.1:1/db" in outcome.stderr
    assert "DATABASE_URL" in outcome.stderr
    assert "secret" not in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_an_error_is_json_where_json_was_asked_for() -> None:
    """A script reads the error as it reads the result; the next command is not asked for JSON."""
    line = CommandLine({"DATABASE_URL": "postgresql://admin:secret@127.0.0.1:1/db"})
    outcome = line.run("audit", "--json")
    said = json.loads(outcome.stderr)
    assert said["exitCode"] == outcome.exit_code == 69
    assert said["error"].startswith("Postgres at 127.0.0.1:1/db")
    assert line.run("audit").stderr.startswith("burnstream: Postgres")


def test_not_migrated_is_one_line(database_url: str, connection: Connection) -> None:
    """A database without our schema is named, with the command that mends it."""
    connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    outcome = CommandLine({"DATABASE_URL": database_url}).run("audit")
    assert outcome.exit_code == 1
    applied = CommandLine({"DATABASE_URL": database_url}).succeed("migrate")["applied"]
    assert applied[0] == "0001_ledger"
    assert f"lacks {', '.join(applied)}; run `burnstream migrate`" in outcome.stderr
    assert CommandLine({"DATABASE_URL": database_url}).run("audit").exit_code == 0


def test_kafka_away_is_one_line(ledger_commands: CommandLine) -> None:
    """A command that needs Kafka says in one line that it cannot be reached."""
    outcome = ledger_commands.run("topics")
    assert outcome.exit_code == 69
    assert "Kafka at 127.0.0.1:1" in outcome.stderr
    assert outcome.stderr.count("\n") == 1

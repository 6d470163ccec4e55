"""The views for analysts: the page's examples give what it prints; the role reads nothing else."""

import re
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from deploy.local.postgres_server import psql_path
from deploy.local.servers import REPOSITORY
from sinks.analysts import VIEWS
from tests.command_line import CommandLine

Connection = psycopg.Connection[Any]

PAGE = (REPOSITORY / "docs" / "analyse.md").read_text()
EXAMPLES = re.findall(r"```sql\n(.+?)```\n\n```text\n(.+?)```", PAGE, re.DOTALL)
ROLE = "ann"

# Written by time of use, but for the first: a late one.
LEDGER = b"""
INSERT INTO "UsageEvent" (id, customer_id, event_type, feature_id, provider, model, input_tokens,
    output_tokens, credits_burned, cost_usd, price_ids, "timestamp", source_partition, source_epoch,
    source_offset, source_index)
SELECT gen_random_uuid(), customer, 'TOKEN_USAGE', feature, provider, model, input, output, credits,
    cost, '{openai-gpt-4-turbo-\xe2\x80\xa6}', at::timestamptz, 1, 0, row_number() OVER () - 1, 0
FROM (VALUES
    ('acme', 'chat', 'OPENAI', 'gpt-4-turbo', 1000, 500, 15, 0.015000, '2026-11-03T00:00:00Z'),
    ('globex', 'chat', 'OPENAI', 'gpt-4-turbo', 20, 0, 1, 0.000100, '2026-11-02T00:00:00Z'),
    ('acme', 'chat', 'OPENAI', 'gpt-4-turbo', 2000, 1000, 30, 0.030000, '2026-11-02T12:00:00Z'),
    ('initech', 'chat', 'OPENAI', 'gpt-4-turbo', 3000, 1500, 45, 0.045000, '2026-11-02T23:59:59Z'),
    ('globex', 'chat', 'OPENAI', 'gpt-4-turbo', 20, 750, 16, 0.015100, '2026-11-03T23:59:59Z'),
    ('acme', 'search', 'ANTHROPIC', 'claude-3-opus', 8000, 1600, 240, 0.240000,
        '2026-11-03T08:00:00Z')
) AS used (customer, feature, provider, model, input, output, credits, cost, at);
INSERT INTO "CreditTransaction" (wallet_id, customer_id, transaction_type, amount, balance_before,
    balance_after, metadata, idempotency_key, usage_event_id, wallet_seq)
SELECT 'w', customer_id, 'REFUND', 40, 0, 40, '{"job": "november", "credits": 200}',
    'reprice:november:' || id, id, 1
FROM "UsageEvent" WHERE provider = 'ANTHROPIC';
INSERT INTO "VoidedEvent" (customer_id, event_id, voided_by, is_replaced, reason)
VALUES ('acme', gen_random_uuid(), gen_random_uuid(), false, 'a test of theirs');
INSERT INTO "DeadLetter" (partition, epoch, "offset", index, customer_id, reason, message, payload,
    model, found_by, status, created_at, resolved_at, resolved_by)
VALUES
    (1, 0, 7, 0, 'acme', 'UNPRICED', 'no price', '', 'gpt-secret', 'streams', 'OPEN',
        '2026-11-03', NULL, NULL),
    (1, 0, 8, 0, 'globex', 'UNPRICED', 'no price', '', 'gpt-secret', 'streams', 'OPEN',
        '2026-11-03', NULL, NULL),
    (1, 0, 9, 0, NULL, 'NOT_JSON', 'no json', '', NULL, 'streams', 'DISCARDED',
        '2026-11-03', now(), 'ann');
"""


@pytest.fixture
def analyst_url(
    connection: Connection, database_url: str, ledger_commands: CommandLine
) -> Iterator[str]:
    """Where a role of the command's making sees the ledger of the page."""
    connection.execute(LEDGER)
    password = ledger_commands.succeed("analyst", "create", ROLE)["password"]
    at = urlsplit(database_url)
    yield urlunsplit(at._replace(netloc=f"{ROLE}:{password}@{at.hostname}:{at.port}"))
    name = sql.Identifier(ROLE)
    connection.execute(sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(name, name))


def test_the_examples_give_what_the_page_prints(analyst_url: str) -> None:
    """Each question of the page, asked by the role with psql."""
    assert len(EXAMPLES) >= len(VIEWS)
    for question, answer in EXAMPLES:
        done = subprocess.run(
            [psql_path(), analyst_url, "-X", "-P", "footer=off", "-c", question],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.rstrip() == answer.rstrip(), question + done.stderr


def test_the_role_reads_the_views_and_nothing_else(
    analyst_url: str, connection: Connection
) -> None:
    """No table, and so no key and no payload; nothing is written."""
    tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    with psycopg.connect(analyst_url, autocommit=True) as analyst:
        for view in VIEWS:
            analyst.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(view)))
        for (table,) in tables.fetchall():
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                analyst.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
        analyst.execute("SET default_transaction_read_only = off")
        for statement in (
            b"DELETE FROM balances",
            b"UPDATE charges SET credits = 0",
            b"CREATE TABLE mine (id int)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                analyst.execute(statement)


def test_every_view_is_the_roles(connection: Connection) -> None:
    """A view that a later migration adds is granted, too."""
    found = connection.execute("SELECT viewname FROM pg_views WHERE schemaname = 'public'")
    assert {name for (name,) in found.fetchall()} == set(VIEWS)


def test_a_question_about_a_day_reads_that_day(connection: Connection) -> None:
    """The index of days serves what the views ask."""
    connection.execute("SET enable_seqscan = off")
    for question in (
        "SELECT * FROM burn_per_day WHERE day = '2026-11-02'",
        "SELECT * FROM cost_against_credits WHERE day >= '2026-11-02'",
        "SELECT * FROM charges WHERE day = '2026-11-02'",
    ):
        plan = connection.execute(f"EXPLAIN {question}".encode()).fetchall()
        assert any('"UsageEvent_day"' in line for (line,) in plan), plan


def test_a_name_that_is_taken_is_refused(analyst_url: str, ledger_commands: CommandLine) -> None:
    """The second of the name is told how to remove the first."""
    assert analyst_url
    outcome = ledger_commands.run("analyst", "create", ROLE)
    assert outcome.exit_code == 1
    assert "there is a role 'ann' already" in outcome.stderr

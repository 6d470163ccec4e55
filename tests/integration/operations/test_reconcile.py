"""`burnstream reconcile`: the page's examples, on a ledger that has a row of each kind."""

import csv
import json
import re
import shlex
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.local.servers import REPOSITORY

Connection = psycopg.Connection[Any]

PAGE = (REPOSITORY / "docs" / "reconcile.md").read_text()
FILES = re.findall(r"`(\S+)`:\n\n```csv\n(.+?)```", PAGE, re.DOTALL)
EXAMPLES = re.findall(r"```sh\nburnstream (.+?)\n```\n\n```text\n(.+?)```", PAGE, re.DOTALL)

# As streams and sinks leave it; the last three are out of the list's time, or another customer's.
LEDGER = b"""
INSERT INTO "UsageEvent" (id, customer_id, event_type, feature_id, provider, model, credits_burned,
    cost_usd, idempotency_key, "timestamp", source_partition, source_epoch, source_offset,
    source_index)
SELECT ('00000000-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid, customer, 'TOKEN_USAGE',
    'chat', provider, 'gpt-4-turbo', credits, credits * 0.001000, key, at::timestamptz, 0, 0,
    row_number() OVER () - 1, 0
FROM (VALUES
    (1, 'acme', 'OPENAI', 15, 'k1', '2026-11-02T08:00:00Z'),
    (2, 'acme', 'OPENAI', 30, NULL, '2026-11-02T09:00:00Z'),
    (7, 'acme', 'OPENAI', 15, NULL, '2026-11-02T10:30:00Z'),
    (8, 'acme', 'OPENAI', 80, NULL, '2026-11-03T00:00:00Z'),
    (9, 'acme', 'AZURE', 10, NULL, '2026-11-03T00:00:00Z'),
    (1, 'globex', 'AZURE', 10, NULL, '2026-11-02T10:30:00Z')
) AS used (number, customer, provider, credits, key, at);
INSERT INTO "DuplicateEvent" (partition, epoch, "offset", index, customer_id, event_id,
    idempotency_key, of_partition, of_offset, of_index, found_by)
VALUES
    (0, 0, 10, 0, 'acme', '00000000-0000-4000-8000-000000000003', 'k1', NULL, NULL, NULL,
        'conflict'),
    (0, 0, 11, 0, 'acme', '00000000-0000-4000-8000-000000000001', 'k1', 0, 0, 0, 'seen');
INSERT INTO "DeadLetter" (partition, epoch, "offset", index, customer_id, event_id, reason, message,
    payload, status, found_by, resolved_at, resolved_by)
VALUES
    (0, 0, 12, 0, 'acme', '00000000-0000-4000-8000-000000000004', 'UNPRICED', '', '', 'OPEN',
        'streams', NULL, NULL),
    (0, 0, 13, 0, 'acme', '00000000-0000-4000-8000-000000000005', 'NOT_JSON', '', '', 'DISCARDED',
        'streams', now(), 'ann'),
    (0, 0, 14, 0, 'globex', '00000000-0000-4000-8000-000000000006', 'UNPRICED', '', '', 'OPEN',
        'streams', NULL, NULL);
"""


@pytest.fixture
def run(connection: Connection, database_url: str, tmp_path: Path, monkeypatch: Any) -> Any:
    connection.execute(LEDGER)
    monkeypatch.chdir(tmp_path)
    for name, text in FILES:
        (tmp_path / name).write_text(text)

    def call(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, list(arguments), env={"DATABASE_URL": database_url})
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.stdout

    return call


def test_the_examples_give_what_the_page_prints(run: Any, tmp_path: Path) -> None:
    """A list with a row of each kind, and an invoice; both differ, which the exit code says."""
    assert len(EXAMPLES) == len(FILES) == 2
    for command, answer in EXAMPLES:
        assert run(*shlex.split(command), code=1).rstrip() == answer.rstrip()
    rows = list(csv.DictReader((tmp_path / "differences.csv").open()))
    assert [row["row"] for row in rows] == ["2", "3", "4", "5", "6", ""]
    assert rows[1]["duplicate_of"] == "00000000-0000-4000-8000-000000000001"


def test_a_list_that_agrees_exits_with_0(run: Any, tmp_path: Path) -> None:
    """Ids alone, twice even; its time is that of what is charged of it."""
    first, last = (f'"00000000-0000-4000-8000-{number:012}"' for number in (8, 9))
    (tmp_path / "ids.ndjson").write_text(f"{first}\n{last}\n\n{first}\n")
    arguments = ("reconcile", "--against", "ids.ndjson", "--customer", "acme", "--json")
    found = json.loads(run(*arguments))
    assert (found["rows"], found["events"], found["agreed"]) == (3, 2, 2)
    assert (found["credits"], found["cost_usd"], found["differences"]) == (90, "0.090000", {})
    wider = json.loads(run(*arguments, "--since", "2026-11-02", code=1))
    assert wider["differences"] == {"charged, not in the list": 3}


def test_rows_that_cannot_be_read_are_differences(run: Any, tmp_path: Path) -> None:
    """Of a list and of an invoice; an option that cannot be meant is refused."""
    (tmp_path / "bad.ndjson").write_text('{"event_id": "x", "customer_id": "acme"}\n')
    found = json.loads(run("reconcile", "--against", "bad.ndjson", "--json", code=1))
    assert found["differences"] == {"unreadable row": 1}
    (tmp_path / "bad.csv").write_text("day,cost_usd\nx,1\n")
    assert "row 1: day 'x'" in run("reconcile", "--invoice", "--against", "bad.csv", code=1)
    run("reconcile", "--invoice", "--against", "bad.csv", "--tolerance-usd", "-1", code=1)
    run("reconcile", "--against", "absent.csv", code=1)


def test_an_invoice_per_customer_is_compared_per_customer(run: Any, tmp_path: Path) -> None:
    """Who is charged and not invoiced is a line of its own; cents may differ when told so."""
    (tmp_path / "i.csv").write_text("day,customer_id,cost_usd\n2026-11-02,acme,0.061\n")
    found = json.loads(run("reconcile", "--invoice", "--against", "i.csv", "--json", code=1))
    assert [(one["customer_id"], one["difference_usd"]) for one in found["first"]] == [
        ("acme", "0.001000"),
        ("globex", "-0.010000"),
    ]
    run("reconcile", "--invoice", "--against", "i.csv", "--tolerance-usd", "0.01")

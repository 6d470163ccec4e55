"""`burnstream import` beside the running system: good rows are charged once, bad ones told."""

import csv
import gzip
import json
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from schemas.topics import Topics
from tests.e2e.ledger import Ledger
from tests.e2e.producers import CREDITS, event, produce, value_of
from tests.system import System
from tests.waiting import wait_until

CUSTOMER, OTHER = "cust-import", "cust-import-2"
ROWS = 20_000


@pytest.fixture
def ledger(system: System, database_url: str) -> Ledger:
    """The ledger of a system of streams and sinks, with two customers."""
    found = Ledger(database_url)
    found.create_customer(CUSTOMER)
    found.create_customer(OTHER)
    system.start(gateways=0)
    return found


def imported(system: System, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = system.burnstream("import", *arguments, "--json", check=False)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_file_is_charged_once_and_its_summary_is_the_ledgers(
    system: System, ledger: Ledger, tmp_path: Path, topic_prefix: str
) -> None:
    """Duplicates within the file and with the log, rubbish, an unknown customer; then once more."""
    good = [event(CUSTOMER) for _ in range(30)] + [event(OTHER) for _ in range(10)]
    there_already = good[0]

    async def send(producer: Any) -> None:
        key = CUSTOMER.encode()
        await producer.send_and_wait(Topics(topic_prefix).raw, value_of(there_already), key=key)

    produce(system, send)
    twice, unknown = good[5], event("cust-nobody")
    unpriced = event(CUSTOMER, model="no-such-model")
    lines = [json.dumps(one) for one in (*good, twice, unknown, unpriced)]
    lines[10:10] = ["{", json.dumps(event(CUSTOMER, input_tokens=-1)), ""]
    file = tmp_path / "may.ndjson.gz"
    file.write_bytes(gzip.compress("\n".join(lines).encode()))

    found = imported(system, str(file), code=1)
    charged = {"events": 42, "charged": 40, "credits": 40 * CREDITS, "cost_usd": "0.600000"}
    letters = {"UNKNOWN_CUSTOMER": 1, "UNPRICED": 1}
    assert {name: found[name] for name in charged} == charged
    assert found["rest"] == letters
    assert (found["rows"]["accepted"], found["rows"]["rejected"]) == (43, 2)
    assert ledger.charged() == {one["event_id"]: CREDITS for one in good}
    rejects = [json.loads(line) for line in Path(found["rejects"]).read_text().splitlines()]
    assert [(one["row"], one["errors"][0]["path"]) for one in rejects] == [
        (11, ""),
        (12, "input_tokens"),
    ]

    again = imported(system, str(file), code=1)
    assert again == found
    file.with_name(file.name + ".progress").unlink()
    assert imported(system, str(file), code=1) == found
    assert ledger.balance(OTHER) == 1_000_000 - 10 * CREDITS
    system.burnstream("audit", "--log")


def test_a_table_is_charged_at_its_own_time(system: System, ledger: Ledger, tmp_path: Path) -> None:
    """Columns by other names, constants, ids of its own; from stdin, too, and never twice."""
    file = tmp_path / "invoice.csv"
    with file.open("w", newline="") as text:
        table = csv.writer(text)
        table.writerow(["account", "used at", "in", "out", "project"])
        for hour in range(10):
            table.writerow([CUSTOMER, f"2025-06-01 {hour:02}:00:00+02:00", 1000, 500, "apollo"])
    meaning = [f"--map={one}" for one in ("customer_id=account", "timestamp=used at")]
    meaning += [f"--map={one}" for one in ("input_tokens=in", "output_tokens=out")]
    meaning += ["--map=metadata.project=project", "--set=event_type=TOKEN_USAGE"]
    meaning += ["--set=feature_id=old", "--set=provider=OPENAI", "--set=model=gpt-4-turbo"]

    assert imported(system, str(file), *meaning)["charged"] == 10
    rows = ledger.rows('SELECT "timestamp", metadata FROM "UsageEvent" ORDER BY "timestamp"')
    assert rows[0]["timestamp"].isoformat() == "2025-05-31T22:00:00+00:00"
    assert rows[0]["metadata"] == {"project": "apollo"}

    piped = subprocess.run(
        [
            *(sys.executable, "-m", "deploy.cli", "import", "-", "--format=csv"),
            *("--source=invoice.csv", *meaning),
        ],
        stdin=file.open("rb"),
        capture_output=True,
        text=True,
        cwd=tmp_path / "system",
        env=system.environment,
        check=True,
    )
    assert "of 10 events the ledger has charged 10: 150 credits, 0.150000 USD" in piped.stdout
    assert ledger.balance(CUSTOMER) == 1_000_000 - 10 * CREDITS


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("ledger")
def test_an_import_killed_at_any_moment_goes_on(system: System, tmp_path: Path) -> None:
    """Killed three times: the next run goes on, and the end is as if nothing had been."""
    file, rejects = tmp_path / "long.ndjson", tmp_path / "long.ndjson.rejects"
    kept = tmp_path / "long.ndjson.progress"
    with file.open("w") as text:
        for number in range(ROWS):
            one = event(CUSTOMER if number % 3 else OTHER, event_id=str(uuid.UUID(int=number)))
            text.write(json.dumps(one) + "\n" if number % 100 else "rubbish\n")

    def rows_done() -> int:
        return int(json.loads(kept.read_bytes())["rows"]) if kept.exists() else 0

    for _ in range(3):
        before = rows_done()
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.cli", "import", str(file), "--rate", "3000"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=tmp_path / "system",
            env=system.environment,
        )
        wait_until(lambda before=before: rows_done() > before, 30, "it goes on")  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert 0 < rows_done() < ROWS

    found = imported(system, str(file), "--rate", "1000000", code=1)
    good = ROWS - ROWS // 100
    assert (found["charged"], found["rest"]) == (good, {})
    assert (found["rows"]["accepted"], found["rows"]["rejected"]) == (good, ROWS // 100)
    numbers = [json.loads(line)["row"] for line in rejects.read_text().splitlines()]
    assert numbers == list(range(1, ROWS + 1, 100))
    system.burnstream("audit", "--log")

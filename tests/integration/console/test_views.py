"""What the console shows of events, batches, customers and the pipeline."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from aiohttp.test_utils import TestClient, TestServer

from deploy.console.admin_keys import AdminKeys
from deploy.console.app import build_app
from deploy.console.ledger import Ledger
from deploy.console.settings import ConsoleSettings
from deploy.runtime.settings import RuntimeSettings
from schemas.batch_id import BatchPositions, encode_batch_id
from tests.integration.console.conftest import CHARGED_EVENT, KEY, Console

Connection = psycopg.Connection[Any]


@pytest.mark.usefixtures("logs")
async def test_an_event_from_its_bytes_to_its_wallet(console: Console) -> None:
    """Raw record, verdict, price used, ledger row and wallet are those of the event."""
    found = await console.get(f"/event?id={CHARGED_EVENT.upper()}")
    way = found["way"]

    assert way["place"] == {"partition": 0, "epoch": 0, "offset": 1, "index": 0}
    assert (way["record"]["offset"], way["record"]["bytes"]) == (1, 31)
    assert (way["entry"]["verdict"], way["rated_offset"]) == ("charged", 0)
    assert (way["batch"]["first_offset"], way["batch"]["next_offset"]) == (0, 3)
    assert [line["cost_usd"] for line in way["price"]["lines"]] == ["0.005000", "0.010000"]
    assert found["charged"]["credits_burned"] == 15
    (transaction,) = way["transactions"]
    assert (transaction["wallet_id"], transaction["wallet_balance"]) == ("w1", 955)
    assert (transaction["balance_before"], transaction["balance_after"]) == (985, 955)


@pytest.mark.usefixtures("logs")
async def test_a_price_that_was_changed_since_is_noticed(
    console: Console, ledger: Connection
) -> None:
    """Rated again by the rows that it names, a charge comes to the same, until one is changed."""
    path = f"/event?id={CHARGED_EVENT}"
    assert (await console.get(path))["way"]["price"]["again"] == {
        "is_same": True,
        "message": "15 credits, 0.015000 USD",
    }
    ledger.execute("UPDATE \"ProviderCost\" SET cost_per_unit = 6 WHERE id = 'price-in'")
    assert (await console.get(path))["way"]["price"]["again"] == {
        "is_same": False,
        "message": "16 credits, 0.016000 USD",
    }
    ledger.execute("DELETE FROM \"ProviderCost\" WHERE id = 'price-in'")
    assert (await console.get(path))["way"]["price"]["missing"] == ["price-in"]


@pytest.mark.usefixtures("logs")
async def test_a_duplicate_and_a_letter_are_shown_with_their_event(console: Console) -> None:
    """Where an event came again, and the letter that its charge replayed."""
    first = await console.get("/event?id=00000000-0000-4000-8000-000000000000")
    assert [(one["offset"], one["found_by"]) for one in first["duplicates"]] == [(2, "seen")]
    by_key = await console.get("/event?id=00000000-0000-4000-8000-000000000009")
    assert by_key["under_key"] == {"event_id": "00000000-0000-4000-8000-000000000000"}
    replayed = await console.get("/event?id=00000000-0000-4000-8000-000000000003")
    assert [one["id"] for one in replayed["letters"]] == ["dl-0-0-4-0"]
    assert replayed["charged"]["source_offset"] == 5


async def test_an_id_of_several_customers_is_asked_about(
    console: Console, ledger: Connection
) -> None:
    """One id is another event for each customer: neither is shown for the other."""
    ledger.execute(
        'INSERT INTO "UsageEvent" (id, customer_id, event_type, feature_id, credits_burned, '
        "cost_usd, timestamp, source_partition, source_epoch, source_offset, source_index) "
        "VALUES (%s, 'c2', 'API_CALL', '', 0, 0, now(), 0, 0, 5, 1)",
        [CHARGED_EVENT],
    )
    found = await console.get(f"/event?id={CHARGED_EVENT}")
    assert (found["customers"], found["charged"], found["way"]) == (["c1", "c2"], None, None)
    found = await console.get(f"/event?id={CHARGED_EVENT}&customer=c2")
    assert found["charged"]["credits_burned"] == 0


async def test_an_unknown_event_is_404(console: Console) -> None:
    """Nothing is known of it; a text that is no id is refused."""
    for event, status in (("00000000-0000-4000-8000-00000000ffff", 404), ("x", 400)):
        async with console.client.get(f"/event?id={event}", headers={"X-API-Key": KEY}) as answer:
            assert answer.status == status


async def test_what_no_row_can_hold_is_refused(console: Console) -> None:
    """NUL characters and numbers beyond every column are 400 or 404, never an error of ours."""
    too_large = encode_batch_id(b"any secret", "c1", BatchPositions(0, (2**64 - 1,), 1))
    for path in (
        "/customer?id=%00",
        "/customers?q=%00",
        "/dead-letters/%00",
        "/dead-letters?customer=%00",
        f"/event?id={CHARGED_EVENT}&customer=%00",
        f"/batch?id={too_large}",
        "/batch?id=2147483647:999999999999999999",
        "/actions/%00",
        "/search?q=%00",
    ):
        async with console.client.get(path, headers={"X-API-Key": KEY}) as answer:
            assert answer.status in {400, 404}, path


@pytest.mark.usefixtures("logs")
async def test_a_batch_by_its_id_or_by_its_position(console: Console) -> None:
    """Its records as Kafka holds them, and what became of each event."""
    text = encode_batch_id(b"any secret", "c1", BatchPositions(0, (1, 2), 2))
    for asked in (text, "0:1"):
        found = await console.get(f"/batch?id={asked}")
        assert found["is_applied"]
        assert found["events"][0]["event_id"] == CHARGED_EVENT
        assert found["events"][0]["credits"] == 15
        assert found["records"][0]["offset"] == 1
    later = await console.get("/batch?id=0:7")
    assert (later["is_applied"], later["events"], len(later["records"])) == (False, [], 1)


@pytest.mark.usefixtures("logs")
async def test_search_leads_to_what_a_text_names(console: Console) -> None:
    """An event, a batch or position, a letter, a customer, a part of several customers."""
    leads = {
        CHARGED_EVENT: f"/event?id={CHARGED_EVENT}",
        "0:1": "/batch?id=0:1",
        "dl-1-0-0-0": "/dead-letters/dl-1-0-0-0",
        "c1": "/customer?id=c1",
        "example.com": "/customers?q=example.com",
    }
    for text, path in leads.items():
        async with console.client.get(
            "/search", params={"q": text}, headers={"X-API-Key": KEY}
        ) as answer:
            assert answer.status == 200
            assert str(answer.url.relative()) == path


def burn_history(ledger: Connection, wallet: str, burns: list[tuple[datetime, int]]) -> None:
    """Continue a wallet's chain of nothing: one burn each."""
    balance = 1_000_000
    for seq, (at, credits_) in enumerate(burns, start=1):
        ledger.execute(
            'INSERT INTO "CreditTransaction" (wallet_id, customer_id, transaction_type, amount, '
            "balance_before, balance_after, usage_event_id, wallet_seq, created_at) VALUES "
            "(%s, 'c1', 'BURN', %s, %s, %s, gen_random_uuid(), %s, %s)",
            [wallet, -credits_, balance, balance - credits_, seq, at],
        )
        balance -= credits_
    ledger.execute(
        'INSERT INTO "CreditWallet" (id, customer_id, team_id, balance, last_seq) '
        "VALUES (%s, 'c1', 'blue', %s, %s)",
        [wallet, balance, len(burns)],
    )


@pytest.mark.parametrize("older", [0, 1, 2, 300])
async def test_burn_per_hour_is_what_a_plain_sum_says(
    console: Console, ledger: Connection, older: int
) -> None:
    """However much lies before the window: each hour's sum, of all wallets, to the last credit."""
    now = datetime.now(UTC)
    old = [(now - timedelta(days=30) + timedelta(minutes=n), 7) for n in range(older)]
    recent = [(now - timedelta(minutes=17 * n), 2**53 + n) for n in range(100, 0, -1)]
    burn_history(ledger, "w-team", old + recent)
    found = await console.get("/customer?id=c1&hours=24")
    plain = ledger.execute(
        "SELECT date_trunc('hour', created_at, 'UTC'), sum(-amount)::bigint "
        "FROM \"CreditTransaction\" WHERE customer_id = 'c1' AND transaction_type = 'BURN' "
        "AND created_at >= date_trunc('hour', %s::timestamptz, 'UTC') - interval '23 hours' "
        "GROUP BY 1",
        [now],
    ).fetchall()

    shown = {datetime.fromisoformat(hour): credits_ for hour, credits_ in found["per_hour"]}
    assert {hour: credits_ for hour, credits_ in shown.items() if credits_} == dict(plain)
    assert len(shown) == 24
    assert json.loads(found["chart"])["credits"] == [str(one) for one in shown.values()]


async def test_each_wallet_has_its_forecast(console: Console, ledger: Connection) -> None:
    """A wallet that burned runs out, one in debt is empty."""
    burn_history(ledger, "w-team", [(datetime.now(UTC) - timedelta(minutes=50), 600)])
    wallets = (await console.get("/customer?id=c1"))["wallets"]
    assert [(one["id"], one["forecasts"][0]["outlook"]) for one in wallets] == [
        ("w1", "runs out"),
        ("w-team", "runs out"),
    ]
    (in_debt,) = (await console.get("/customer?id=c2"))["wallets"]
    assert in_debt["forecasts"][0]["outlook"] == "empty"


@pytest.mark.usefixtures("logs")
async def test_the_pipeline_counts_what_waits_and_what_is_done(
    console: Console, ledger: Connection
) -> None:
    """Waiting by Kafka's offsets, completed by the ledger, failed by its open letters."""
    found = await console.get("/")
    state = found["state"]
    assert (state["waiting"], state["active"], found["failed"]) == (2, 0, 1)
    assert (state["charged"], state["duplicates"], found["completed"]) == (6, 3, 9)
    first, second = state["partitions"]
    assert (first["end"], first["applied_to"], first["waiting"]) == (8, 6, 2)
    assert first["unpaid_age"] is not None
    assert (second["epoch"], second["waiting"]) == (1, 0)
    assert [one["first_offset"] for one in found["batches"]]
    assert ledger.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.usefixtures("logs")
async def test_live_parts_come_at_once_and_again_when_they_changed(
    console: Console, ledger: Connection
) -> None:
    """The first event brings every part; after a letter is closed its count comes, not the rest."""
    await console.log_in()
    async with console.client.get("/live", headers={"Accept": "text/event-stream"}) as answer:
        assert answer.content_type == "text/event-stream"
        first = await next_parts(answer)
        assert set(first) == {"picture", "counts", "partitions", "workers", "batches"}
        ledger.execute(
            "UPDATE \"DeadLetter\" SET status = 'DISCARDED', resolved_at = now(), "
            "resolved_by = 'x' WHERE status = 'OPEN'"
        )
        changed = await next_parts(answer)
        while "counts" not in changed:
            changed = await next_parts(answer)
        assert "batches" not in changed
        answer.close()


async def next_parts(answer: Any) -> dict[str, str]:
    """Read one event of a stream."""
    event = (await answer.content.readuntil(b"\n\n")).decode()
    name, data = event.strip().split("\n")
    assert name == "event: fragments"
    found: dict[str, str] = json.loads(data.removeprefix("data: "))
    return found


async def test_the_console_cannot_write_where_it_reads(
    runtime: RuntimeSettings, ledger: Connection
) -> None:
    """Its connections are read-only: a mistake in a page changes nothing."""
    reader = Ledger(runtime.database_url)
    await reader.open()
    async with reader._pool.connection() as connection:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await connection.execute('DELETE FROM "DeadLetter"')
    await reader.close()
    assert ledger.execute('SELECT count(*) FROM "DeadLetter"').fetchone() == (3,)


async def test_servers_away_are_said(console_settings: ConsoleSettings, ledger: Connection) -> None:
    """Without Kafka what the ledger knows is shown; without Postgres a page says so, 503."""
    assert ledger.info.dbname in console_settings.database_url
    no_kafka = console_settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    no_ledger = console_settings.model_copy(
        update={"database_url": "postgresql://x:x@127.0.0.1:1/x"}
    )
    keys, headers = AdminKeys.parse(KEY), {"X-API-Key": KEY}
    async with TestClient(TestServer(build_app(no_kafka, keys))) as client:
        async with client.get(f"/event?id={CHARGED_EVENT}", headers=headers) as answer:
            found = await answer.json()
            assert found["charged"]["credits_burned"] == 15
            assert "Kafka" in found["way"]["record"]["absent"]
        async with client.get("/", headers=headers) as answer:
            assert answer.status == 503
            assert "Kafka" in (await answer.json())["error"]
    async with (
        TestClient(TestServer(build_app(no_ledger, keys))) as client,
        client.get("/dead-letters", headers=headers) as answer,
    ):
        assert answer.status == 503
        assert "Postgres" in (await answer.json())["error"]


async def test_jobs_and_how_far_they_are(console: Console, ledger: Connection) -> None:
    """One at work with what it still takes, one that was killed, one that is done."""
    assert (await console.get("/jobs"))["jobs"] == []
    rows = [
        ("working", 0, 0, 100, 80, 40, 12.5, "0 s"),
        ("working", 1, 0, 100, 0, 0, None, "1 h"),
        ("killed", 0, 10, 30, 20, 10, 3.0, "1 h"),
        ("done", 0, 0, 50, 50, 50, 0.0, "1 h"),
    ]
    for job, partition, first, end, rated, applied, left, ago in rows:
        ledger.execute(
            'INSERT INTO "JobProgress" VALUES (%s, %s, %s, %s, %s, %s, %s,'
            " now() - interval '2 h', now() - %s::interval)",
            [job, partition, first, end, rated, applied, left, ago],
        )
    found = {one["job"]: one for one in (await console.get("/jobs"))["jobs"]}
    assert {
        name: (one["is_done"], one["is_at_work"], one["rated"], one["applied"], one["positions"])
        for name, one in found.items()
    } == {
        "working": (False, True, 80, 40, 200),
        "killed": (False, False, 10, 0, 20),
        "done": (True, False, 50, 50, 50),
    }
    assert {name: one["seconds_left"] for name, one in found.items()} == {
        "working": 12.5,
        "killed": None,
        "done": None,
    }
    await console.log_in()
    async with console.client.get("/jobs", headers={"Accept": "text/html"}) as answer:
        text = await answer.text()
    assert ">at work</span>" in text
    assert ">stopped</span>" in text
    assert "12 s" in text

"""Dead letters by way of the console: found, looked at, replayed, discarded."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from deploy.runtime.settings import RuntimeSettings
from tests.integration.console.conftest import KEY, Console
from tests.integration.operations.kafka_records import records_of

Connection = psycopg.Connection[Any]
OPEN, NOT_JSON, REPLAYED = "dl-1-0-0-0", "dl-1-1-2-0", "dl-0-0-4-0"


def add_letters(ledger: Connection, count: int, created_at: datetime) -> list[str]:
    """Put open letters of customer c9 into partition 1, epoch 1, from offset 100 on."""
    for number in range(count):
        ledger.execute(
            'INSERT INTO "DeadLetter" (partition, epoch, "offset", index, customer_id, reason, '
            "message, payload, found_by, created_at) VALUES (1, 1, %s, 0, 'c9', 'UNPRICED', "
            "'no price', %s, 'streams', %s)",
            [100 + number, b'{"n":%d}' % number, created_at],
        )
    return [f"dl-1-1-{100 + number}-0" for number in range(count)]


def row(ledger: Connection, letter: str) -> tuple[Any, ...] | None:
    """Return what an action changes."""
    return ledger.execute(
        'SELECT status, replays, replayed_as, resolved_by, resolved_reason FROM "DeadLetter" '
        "WHERE id = %s",
        [letter],
    ).fetchone()


async def ids(console: Console, query: str) -> list[str]:
    """Ids that a filter finds."""
    return [letter["id"] for letter in (await console.get(f"/dead-letters?{query}"))["letters"]]


async def test_filters_find_what_they_name(console: Console, ledger: Connection) -> None:
    """By status, reason, customer and time; nothing said is what is open."""
    old = add_letters(ledger, 2, datetime(2026, 1, 1, 12, tzinfo=UTC))

    assert await ids(console, "") == [OPEN, *reversed(old)]
    assert set(await ids(console, "status=ALL")) == {OPEN, NOT_JSON, REPLAYED, *old}
    assert await ids(console, "reason=UNKNOWN_CUSTOMER") == [OPEN]
    assert await ids(console, "customer=c9") == list(reversed(old))
    assert await ids(console, "until=2026-01-01T12:00:01") == list(reversed(old))
    assert await ids(console, "until=2026-01-01T12:00") == []
    assert await ids(console, "since=2026-01-01T12:00:01") == [OPEN]
    assert await ids(console, "since=2026-01-01T12:00&until=2026-01-02T00:00") == list(
        reversed(old)
    )


async def test_pages_of_letters_follow_each_other(console: Console, ledger: Connection) -> None:
    """Each letter stands on one page, the newest first; the number of all is told."""
    add_letters(ledger, 120, datetime(2026, 1, 1, tzinfo=UTC))
    pages = [await ids(console, f"page={number}") for number in (1, 2, 3, 4)]

    assert [len(page) for page in pages] == [50, 50, 21, 0]
    assert len({one for page in pages for one in page}) == 121
    assert (await console.get("/dead-letters"))["total"] == 121


@pytest.mark.parametrize("query", ["reason=NONE", "since=soon", "page=0", "page=x", "status=1"])
async def test_a_wrong_filter_is_refused(console: Console, query: str) -> None:
    """400 that names the field, never an error of the console."""
    async with console.client.get(f"/dead-letters?{query}", headers={"X-API-Key": KEY}) as answer:
        assert answer.status == 400
        assert query.split("=", maxsplit=1)[0] in (await answer.json())["error"]


async def test_a_letter_shows_its_bytes(console: Console) -> None:
    """Bytes that are no text are shown in hexadecimal, and given whole to programs."""
    assert (await console.get(f"/dead-letters/{NOT_JSON}"))["letter"]["payload"] == "/wA="
    await console.log_in()
    async with console.client.get(f"/dead-letters/{NOT_JSON}") as answer:
        assert "00000000  ff 00" in await answer.text()


@pytest.mark.usefixtures("logs")
async def test_replay_writes_the_bytes_and_keeps_who_and_why(
    console: Console, ledger: Connection, runtime: RuntimeSettings
) -> None:
    """As `burnstream dead-letters replay`: the same bytes, headers and marks, by the key's name."""
    action = await console.act(verb="replay", id=OPEN, why="customer made")

    assert action["outcomes"] == {OPEN: "replayed as 1:0"}
    assert row(ledger, OPEN) == ("REPLAYED", 1, "1:0", "ada", "customer made")
    (record,) = await records_of(runtime.kafka_bootstrap_servers, runtime.topics.raw, 1)
    assert (record.key, record.value) == (b"c3", b"{}")
    assert dict(record.headers) == {"format": b"1", "replay-of": b"1:0:0:0"}


async def test_discard_keeps_who_and_why_and_closes_only_what_is_open(
    console: Console, ledger: Connection
) -> None:
    """A letter that is closed already is left as it is, and told."""
    assert (await console.act(verb="discard", id=OPEN, why="test data"))["outcomes"] == {
        OPEN: "discarded"
    }
    assert row(ledger, OPEN) == ("DISCARDED", 0, None, "ada", "test data")
    again = await console.act(verb="discard", id=REPLAYED, why="test data")
    assert again["failures"] == {REPLAYED: "was REPLAYED already: left as it is"}
    assert row(ledger, REPLAYED) == ("REPLAYED", 1, "0:5", "tester", None)


@pytest.mark.usefixtures("logs")
async def test_one_letter_that_cannot_be_replayed_holds_up_no_other(
    console: Console, ledger: Connection
) -> None:
    """Of a bulk each letter has its own outcome."""
    letters = add_letters(ledger, 3, datetime.now(UTC))
    ledger.execute(
        "UPDATE \"DeadLetter\" SET status = 'DISCARDED', resolved_at = now(), "
        "resolved_by = 'bob' WHERE id = %s",
        [letters[1]],
    )
    async with console.client.post(
        "/dead-letters/act",
        data=[("verb", "replay"), *(("id", one) for one in [*letters, "dl-9-9-9-9"])],
        headers={"X-API-Key": KEY},
    ) as answer:
        path = answer.url.path
    await console.actions.finish()
    action = (await console.get(path))["action"]

    assert set(action["outcomes"]) == {letters[0], letters[2]}
    assert "discarded" in action["failures"][letters[1]]
    assert "there is no dead letter" in action["failures"]["dl-9-9-9-9"]


async def test_a_filter_stands_for_all_it_names(console: Console, ledger: Connection) -> None:
    """In bulk by customer and time; what is closed, and what the filter leaves out, stays."""
    day = datetime(2026, 1, 1, tzinfo=UTC)
    letters = add_letters(ledger, 60, day)
    action = await console.act(
        verb="discard",
        scope="filter",
        status="ALL",
        customer="c9",
        until=(day + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M"),
        why="load test",
    )

    assert set(action["outcomes"]) == set(letters)
    assert (row(ledger, OPEN) or ())[0] == "OPEN"


async def test_what_is_confirmed_is_what_is_done(console: Console, ledger: Connection) -> None:
    """The question names each letter: one that comes meanwhile is not acted upon."""
    letters = add_letters(ledger, 2, datetime.now(UTC))
    async with console.client.post(
        "/dead-letters/confirm",
        data={"verb": "replay", "scope": "filter", "customer": "c9"},
        headers={"X-API-Key": KEY},
    ) as answer:
        assert (await answer.json())["letter_ids"] == letters
    assert [row(ledger, one) for one in letters] == [("OPEN", 0, None, None, None)] * 2


async def test_an_order_that_is_not_whole_is_refused(console: Console, ledger: Connection) -> None:
    """A discard needs a reason, an order a verb and letters; nothing is done otherwise."""
    orders: list[dict[str, str]] = [
        {"verb": "discard", "id": OPEN},
        {"verb": "discard", "id": OPEN, "why": "  "},
        {"verb": "delete", "id": OPEN, "why": "x"},
        {"verb": "replay"},
        {"verb": "replay", "id": OPEN, "why": "x" * 501},
    ]
    for form in orders:
        async with console.client.post(
            "/dead-letters/act", data=form, headers={"X-API-Key": KEY}
        ) as answer:
            assert answer.status == 400, form
    assert row(ledger, OPEN) == ("OPEN", 0, None, None, None)


async def test_every_action_is_logged_with_who_did_it(
    console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two lines: begun and ended, with the name, the reason, the letters; never the key."""
    await console.act(verb="discard", id=OPEN, why="test data")
    said = "".join(capsys.readouterr())
    lines = [line for line in said.splitlines() if "Action" in line]

    assert len(lines) == 2
    assert all("ada" in line and "test data" in line and "discard" in line for line in lines)
    assert OPEN in lines[1]
    assert KEY not in said


async def test_kafka_away_is_said_and_nothing_is_marked(
    console: Console, ledger: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay that Kafka does not take leaves the letter open, and the action says so."""
    away = console.actions._settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    monkeypatch.setattr(console.actions, "_settings", away)
    action = await console.act(verb="replay", id=OPEN)

    assert action["outcomes"] == {}
    assert action["failures"][OPEN].startswith("not done: ")
    assert row(ledger, OPEN) == ("OPEN", 0, None, None, None)
    assert json.dumps(action)

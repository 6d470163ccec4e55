"""No duplicate is believed, and no header: what the sink verifies in its transaction."""

from typing import TYPE_CHECKING

import orjson
import psycopg
import pytest

from sinks.audit import audit
from tests.integration.sinks.ledger import Ledger
from tests.rated_batches import CUSTOMER, batch, charged, dead_letter, duplicate, event_id, record

COUNTS = 'SELECT charged, duplicates, conflicts, refused FROM "RatedBatch" WHERE partition = %s'

if TYPE_CHECKING:
    from schemas.rated import Entry


def codes(ledger: Ledger) -> list[str]:
    """Return what the audit finds wrong."""
    with psycopg.connect(ledger.url, autocommit=True) as connection:
        return [found.code for found in audit(connection).discrepancies]


async def lose_to_a_conflict(ledger: Ledger) -> None:
    """B(2, K) is charged elsewhere; A(1, K) is a conflict; C(1, L) was called a duplicate of A."""
    await ledger.apply(
        record(0, batch(0, 1, [charged(0, event_id=event_id(2), idempotency_key="K")], partition=1))
    )
    entries: list[Entry] = [
        charged(0, event_id=event_id(1), idempotency_key="K"),
        duplicate(1, 0, of_event=event_id(1), idempotency_key="L"),
    ]
    await ledger.apply(record(0, batch(0, 2, entries)))


async def test_a_duplicate_of_a_conflict_becomes_a_letter(ledger: Ledger) -> None:
    """By neither identity is it charged: its event is kept, with what it was said to repeat."""
    await lose_to_a_conflict(ledger)

    (letter,) = await ledger.rows('SELECT * FROM "DeadLetter"')
    assert (letter["id"], letter["reason"], letter["status"]) == (
        "dl-0-0-1-0",
        "ORIGINAL_NOT_CHARGED",
        "OPEN",
    )
    assert (letter["found_by"], letter["customer_id"], letter["event_id"]) == (
        "sinks",
        CUSTOMER,
        event_id(1),
    )
    assert (letter["idempotency_key"], letter["record_key"]) == ("L", CUSTOMER.encode())
    assert "duplicate of the event at 0:0:0" in letter["message"]
    assert orjson.loads(letter["payload"])["idempotency_key"] == "L"
    (known,) = await ledger.rows('SELECT "offset", found_by FROM "DuplicateEvent"')
    assert known == {"offset": 0, "found_by": "conflict"}
    (counts,) = await ledger.rows(COUNTS, 0)
    assert counts == {"charged": 0, "duplicates": 0, "conflicts": 1, "refused": 1}
    assert codes(ledger) == []


async def test_its_replay_is_charged_once_and_closes_it(ledger: Ledger) -> None:
    """Replayed twice: one charge, one conflict, and the letter is done with."""
    await lose_to_a_conflict(ledger)
    replays = [
        charged(o, event_id=event_id(1), idempotency_key="L", replay_of="0:0:1:0") for o in (2, 3)
    ]
    await ledger.apply(record(1, batch(2, 4, replays)))

    assert await ledger.value('SELECT count(*) FROM "UsageEvent"') == 2
    assert await ledger.value('SELECT status FROM "DeadLetter"') == "REPLAYED"
    assert codes(ledger) == []


async def test_a_true_duplicate_is_one_by_either_identity(ledger: Ledger) -> None:
    """In the same transaction as its original, and in a later one, by id or by key."""
    entries: list[Entry] = [
        charged(0, event_id=event_id(1), idempotency_key="K"),
        duplicate(1, 0, of_event=event_id(1)),
    ]
    await ledger.apply(record(0, batch(0, 2, entries)))
    later = duplicate(2, 0, of_event=event_id(9), idempotency_key="K")
    await ledger.apply(record(1, batch(2, 3, [later])))

    rows = await ledger.rows('SELECT "offset", found_by FROM "DuplicateEvent" ORDER BY 1')
    assert rows == [{"offset": 1, "found_by": "seen"}, {"offset": 2, "found_by": "seen"}]
    assert await ledger.value('SELECT count(*) FROM "DeadLetter"') == 0
    assert codes(ledger) == []


async def test_another_customers_identities_prove_nothing(ledger: Ledger) -> None:
    """The same id and key, charged to somebody else: the duplicate is none."""
    await ledger.add_customer("cust-2")
    theirs = charged(0, event_id=event_id(1), idempotency_key="K", customer_id="cust-2")
    ours = duplicate(1, 0, of_event=event_id(1), idempotency_key="K")
    await ledger.apply(record(0, batch(0, 2, [theirs, ours])))

    assert await ledger.value('SELECT reason FROM "DeadLetter"') == "ORIGINAL_NOT_CHARGED"


async def test_a_duplicate_of_a_refused_event_becomes_a_letter(ledger: Ledger) -> None:
    """Nobody was charged for either: both wait, each for its own reason."""
    entries: list[Entry] = [
        charged(0, event_id=event_id(1), customer_id="nobody"),
        duplicate(1, 0, of_event=event_id(1), customer_id="nobody"),
    ]
    await ledger.apply(record(0, batch(0, 2, entries)))

    rows = await ledger.rows('SELECT reason FROM "DeadLetter" ORDER BY "offset"')
    assert [row["reason"] for row in rows] == ["UNKNOWN_CUSTOMER", "ORIGINAL_NOT_CHARGED"]
    (counts,) = await ledger.rows(COUNTS, 0)
    assert counts == {"charged": 0, "duplicates": 0, "conflicts": 0, "refused": 2}
    assert codes(ledger) == []


async def test_a_conflict_with_what_is_refused_later_is_none(ledger: Ledger) -> None:
    """Two of one id in a transaction; the wallet cannot pay the first: the second is no duplicate.

    It says whose replay it is, and does not close that letter.
    """
    await ledger.apply(record(0, batch(0, 1, [dead_letter(0, b"{}", reason="UNPRICED")])))
    await ledger.rows('UPDATE "CreditWallet" SET balance = %s', -(2**63) + 5)
    first = charged(1, event_id=event_id(1))
    second = charged(0, event_id=event_id(1), replay_of="0:0:0:0")
    await ledger.apply(
        record(1, batch(1, 2, [first])), record(0, batch(0, 1, [second], partition=1))
    )

    rows = await ledger.rows(
        'SELECT id, reason, status, replay_of FROM "DeadLetter" ORDER BY partition, "offset"'
    )
    assert [tuple(row.values()) for row in rows] == [
        ("dl-0-0-0-0", "UNPRICED", "OPEN", None),
        ("dl-0-0-1-0", "REFUSED_BY_DATABASE", "OPEN", None),
        ("dl-1-0-0-0", "ORIGINAL_NOT_CHARGED", "OPEN", "0:0:0:0"),
    ]
    (counts,) = await ledger.rows(COUNTS, 1)
    assert counts == {"charged": 0, "duplicates": 0, "conflicts": 0, "refused": 1}
    assert await ledger.value('SELECT count(*) FROM "DuplicateEvent"') == 0
    assert "duplicate_of_nothing" not in codes(ledger)


@pytest.mark.parametrize(
    "replay_of", ["4000000000:0:5:0", "0:0:99999999999999999999:0", "nonsense", "", "0:0:0:0:0"]
)
async def test_a_header_that_names_no_letter_stops_nothing(ledger: Ledger, replay_of: str) -> None:
    """Whoever may write to Kafka may write anything there: the event is charged all the same."""
    await ledger.apply(record(0, batch(0, 1, [charged(0, replay_of=replay_of)])))

    assert await ledger.value('SELECT count(*) FROM "UsageEvent"') == 1


async def test_a_letter_is_closed_by_its_own_customer_only(ledger: Ledger) -> None:
    """Another's event names it: it stays open; a letter of nobody known may be anybody's."""
    await ledger.add_customer("cust-2")
    theirs = dead_letter(0, b"{}", reason="UNPRICED") | {"customer_id": "cust-2"}
    unread = dead_letter(1, b"{")
    await ledger.apply(record(0, batch(0, 2, [theirs, unread])))
    ours = [charged(o, replay_of=f"0:0:{letter}:0") for o, letter in ((2, 0), (3, 1))]
    await ledger.apply(record(1, batch(2, 4, ours)))

    rows = await ledger.rows('SELECT status FROM "DeadLetter" ORDER BY "offset"')
    assert [row["status"] for row in rows] == ["OPEN", "REPLAYED"]

    own = charged(4, customer_id="cust-2", replay_of="0:0:0:0")
    await ledger.apply(record(2, batch(4, 5, [own])))
    assert await ledger.value('SELECT status FROM "DeadLetter" WHERE "offset" = 0') == "REPLAYED"


async def test_a_letter_is_closed_by_its_own_event_only(ledger: Ledger) -> None:
    """Another event of the customer names it: the letter's event is not charged, it stays open."""
    letter = dead_letter(0, b"{}", reason="UNPRICED")
    letter |= {"customer_id": CUSTOMER, "event_id": event_id(1).upper()}
    await ledger.apply(record(0, batch(0, 1, [letter])))
    for offset, number, status in ((1, 2, "OPEN"), (2, 1, "REPLAYED")):
        replay = charged(offset, event_id=event_id(number), replay_of="0:0:0:0")
        await ledger.apply(record(offset, batch(offset, offset + 1, [replay])))
        assert await ledger.value('SELECT status FROM "DeadLetter"') == status

"""What one transaction makes of corrections, on a real Postgres."""

from typing import Any, cast

import psycopg
import pytest

from schemas.corrections import Void, is_correction
from schemas.rated import ChargedEntry
from sinks.audit import audit
from sinks.voids import ALREADY_VOIDED, NOT_CHARGED, REPLACEMENT_IS_CHARGED
from sinks.wallets import BALANCE_MIN
from tests.integration.sinks.ledger import Ledger
from tests.rated_batches import CUSTOMER, batch, charged, event_id, record

pytestmark = pytest.mark.usefixtures("ledger")


def replaces(offset: int, original: int, new: int, **fields: Any) -> ChargedEntry:
    """A correction that puts an event in the place of another, each by its number."""
    entry = charged(offset, event_id=event_id(new), **fields)
    void = {"customer_id": CUSTOMER, "event_id": event_id(original), "reason": "a test"}
    entry["voids"] = cast("Void", void)
    return entry


async def letters(ledger: Ledger) -> list[tuple[int, str]]:
    """Offset and message of each letter, all of which are whole corrections."""
    rows = await ledger.rows('SELECT * FROM "DeadLetter" ORDER BY "offset"')
    assert all(is_correction(row["payload"]) for row in rows)
    return [(row["offset"], row["message"]) for row in rows]


async def balance(ledger: Ledger) -> int:
    """The wallet's; the whole ledger is audited besides."""
    with psycopg.connect(ledger.url, autocommit=True) as connection:
        assert audit(connection).discrepancies == []
    return int(await ledger.value('SELECT balance FROM "CreditWallet"'))


async def test_a_chain_of_corrections_in_one_transaction(ledger: Ledger) -> None:
    """Charged, replaced, the replacement replaced again, and that once more by itself."""
    entries = [
        charged(0, event_id=event_id(1)),
        replaces(1, 1, 2, credits_=20),
        replaces(2, 2, 3, credits_=7),
        replaces(3, 2, 3, credits_=7),
    ]
    work = await ledger.apply(record(0, batch(0, 4, entries)))
    assert [len(work.charges), len(work.repeats)] == [3, 1]
    assert await letters(ledger) == []
    assert await balance(ledger) == 1_000_000 - 7
    rows = await ledger.rows('SELECT amount FROM "CreditTransaction" ORDER BY wallet_seq')
    assert [row["amount"] for row in rows] == [-15, -20, -7, 15, 20]


async def test_what_hangs_on_a_correction_that_fails_fails_with_it(ledger: Ledger) -> None:
    """In whichever partition it stands; a repetition is told the same."""
    work = await ledger.apply(
        record(0, batch(0, 1, [replaces(0, 2, 3)])),  # 2 would come with the next one
        record(0, batch(0, 1, [replaces(0, 1, 2)], partition=1)),  # 1 is nobody's
        record(0, batch(0, 1, [replaces(0, 1, 2)], partition=2)),
    )
    assert work.charges == []
    assert await letters(ledger) == [(0, NOT_CHARGED)] * 3
    assert await ledger.value('SELECT count(*) FROM "VoidedEvent"') == 0
    assert await balance(ledger) == 1_000_000


async def test_no_half_of_a_correction_counts(ledger: Ledger) -> None:
    """Its new event is charged by somebody else's record, or no wallet can pay for it."""
    await ledger.apply(record(0, batch(0, 2, [charged(n, event_id=event_id(n)) for n in (0, 1)])))
    await ledger.apply(record(1, batch(2, 3, [replaces(2, 0, 1)])))
    dear = -BALANCE_MIN - 1
    await ledger.apply(record(2, batch(3, 4, [replaces(3, 0, 5, credits_=dear)])))
    # The wallet holds one of it, not two; what names the second's new event goes with it.
    hanging = [replaces(4, 1, 7, credits_=dear), replaces(5, 7, 8)]
    await ledger.apply(record(3, batch(4, 6, hanging)))
    assert await letters(ledger) == [
        (2, REPLACEMENT_IS_CHARGED),
        (4, "the wallet's balance cannot go lower"),
        (5, NOT_CHARGED),
    ]
    assert [str(row["event_id"]) for row in await ledger.rows('SELECT * FROM "VoidedEvent"')] == [
        event_id(0)
    ]
    assert await balance(ledger) == 1_000_000 - 30 - dear + 15


async def test_the_second_of_two_replacements_is_kept_as_a_letter(ledger: Ledger) -> None:
    """Nothing of it is lost, and nothing charged twice."""
    await ledger.apply(record(0, batch(0, 1, [charged(0, event_id=event_id(1))])))
    await ledger.apply(record(1, batch(1, 3, [replaces(1, 1, 2), replaces(2, 1, 3)])))
    assert await letters(ledger) == [(2, ALREADY_VOIDED)]
    assert await balance(ledger) == 1_000_000 - 15

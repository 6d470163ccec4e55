"""The audit of what the sink's own transaction writes, not of rows written by hand."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from schemas.rated import Entry, Kind
from sinks.audit import audit
from sinks.wallet_credit import credit
from tests.integration.sinks.ledger import Ledger
from tests.rated_batches import CUSTOMER, batch, charged, dead_letter, duplicate, event_id, record


@pytest.fixture
async def sink_ledger(database_url: str) -> AsyncIterator[Ledger]:
    opened: psycopg.AsyncConnection[dict[str, Any]] = await psycopg.AsyncConnection.connect(
        database_url, autocommit=True, row_factory=dict_row
    )
    async with opened:
        ledger = Ledger(database_url, opened)
        await ledger.prepare()
        yield ledger


async def test_every_outcome_of_the_sink_is_clean(
    sink_ledger: Ledger, connection: psycopg.Connection[Any]
) -> None:
    """Clipped batches, conflicts, refusals, a top-up in between, a new epoch: nothing is wrong."""
    first = charged(0, event_id=event_id(1), idempotency_key="k")
    entries: list[Entry] = [
        first,
        duplicate(1, 0, of_event=event_id(1)),
        dead_letter(2, b"\xff"),
        charged(3, event_id=event_id(2), customer_id="nobody"),
    ]
    await sink_ledger.apply(record(0, batch(0, 4, entries)))
    credit(connection, customer_id=CUSTOMER, amount=100, idempotency_key="top-up")
    # Emitted twice with other bounds; the second half is new, one of it a conflict by key.
    again: list[Entry] = [*entries[2:], charged(4, event_id=event_id(3), idempotency_key="k")]
    again += [charged(5, event_id=event_id(4))]
    await sink_ledger.apply(record(1, batch(2, 6, again)))
    decision = batch(6, 1, kind=Kind.NEW_EPOCH)
    await sink_ledger.apply(record(2, decision))
    # The log that was made again holds an event that was charged before.
    await sink_ledger.apply(record(3, batch(1, 3, [charged(1, event_id=event_id(1))])))

    report = audit(connection)
    assert report.discrepancies == []
    assert [one["kind"] for one in report.decisions] == ["new-epoch"]
    assert {name: report.totals[name] for name in ("charged", "conflicts", "refused")} == {
        "charged": 2,
        "conflicts": 2,
        "refused": 1,
    }

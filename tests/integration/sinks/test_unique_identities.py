"""What each of the two UNIQUE constraints refuses by itself."""

from typing import Any

import pytest

from tests.integration.sinks.ledger import Ledger
from tests.rated_batches import batch, charged, event_id, record


@pytest.mark.parametrize(
    ("first", "again"),
    [
        pytest.param({"event_id": event_id(1)}, {"event_id": event_id(1)}, id="id"),
        pytest.param(
            {"event_id": event_id(1), "idempotency_key": "k"},
            {"event_id": event_id(2), "idempotency_key": "k"},
            id="key",
        ),
    ],
)
async def test_one_shared_identity_alone_refuses_a_second_charge(
    ledger: Ledger, first: dict[str, Any], again: dict[str, Any]
) -> None:
    """Nothing else in the transaction conflicts, so only this constraint can tell."""
    await ledger.apply(record(0, batch(0, 1, [charged(0, **first)])))
    await ledger.apply(record(0, batch(0, 1, [charged(0, **again)], partition=1)))

    assert await ledger.value('SELECT count(*) FROM "UsageEvent"') == 1
    assert await ledger.value('SELECT balance FROM "CreditWallet"') == 1_000_000 - 15

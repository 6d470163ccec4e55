"""The summary of an import, asked while sinks charge."""

import uuid
from collections.abc import Callable
from typing import Any, Self

import psycopg

from gateway.file_import.summary import LedgerOfFile

CHARGE = b"""
INSERT INTO "UsageEvent" (id, customer_id, event_type, feature_id, provider, model, input_tokens,
    output_tokens, credits_burned, cost_usd, price_ids, "timestamp", source_partition, source_epoch,
    source_offset, source_index)
VALUES (%s, 'acme', 'TOKEN_USAGE', 'chat', 'OPENAI', 'gpt-4-turbo', 1, 1, 15, 0.015, '{}', now(),
    0, 0, 0, 0)
"""


class MeddlingCursor(psycopg.Cursor[Any]):
    """Has the event charged right behind the first question that is asked."""

    charge: Callable[[], object] | None = None

    def execute(self, *arguments: Any, **options: Any) -> Self:
        super().execute(*arguments, **options)
        charge, MeddlingCursor.charge = MeddlingCursor.charge, None
        if charge is not None:
            charge()
        return self


def test_an_event_is_in_the_summary_though_it_is_charged_amid_it(database_url: str) -> None:
    """It is unsettled or charged, not neither."""
    event_id = uuid.uuid4()
    given: Any = [{"customer_id": "acme", "event_id": str(event_id)}]
    with (
        psycopg.connect(database_url, autocommit=True) as sinks,
        psycopg.connect(database_url, autocommit=True) as connection,
    ):
        ledger = LedgerOfFile(connection)
        ledger.add(iter(given))
        connection.cursor_factory = MeddlingCursor
        MeddlingCursor.charge = lambda: sinks.execute(CHARGE, [event_id])
        found = ledger.summary()
        assert MeddlingCursor.charge is None
        assert found.charged + found.unsettled == 1
        assert ledger.summary().charged == 1

"""Prices as they were at each revision are what was published at it."""

import asyncio
from typing import Any

import psycopg

from sinks.postgres import connect
from sinks.price_history import current_revision, snapshot_at, whole_from
from sinks.price_publisher import read_snapshot
from sinks.prices import Snapshot

CHANGES = (
    """INSERT INTO "ProviderCost" (id, provider, model, cost_type, cost_per_unit, valid_from)
    VALUES ('a', 'P', 'm', 'INPUT_TOKEN', 0.00500, '2025-01-01 00:00:00.123456Z'),
        ('b', 'P', 'm', 'OUTPUT_TOKEN', 12345678901234567890.123456789, '-infinity')""",
    """INSERT INTO "BurnTable" (id, customer_id, name, rules)
    VALUES ('t', 'cust', 'own', '{"m": {"input_tokens": 0.10, "per_unit": 1000}}')""",
    """UPDATE "ProviderCost" SET cost_per_unit = 0.006, valid_until = 'infinity' WHERE id = 'a'""",
    """UPDATE "BurnTable" SET is_active = false""",
    """UPDATE "ProviderCost" SET id = 'c' WHERE id = 'b'""",
    """DELETE FROM "ProviderCost" WHERE id = 'a'""",
    """INSERT INTO "ProviderCost" (id, provider, model, cost_type, cost_per_unit)
    VALUES ('a', 'P', 'm', 'INPUT_TOKEN', 0.007)""",
    """TRUNCATE "ProviderCost" """,
)


def test_every_revision_is_told_as_it_was_published(
    connection: psycopg.Connection[Any], database_url: str
) -> None:
    """Rows that came, changed, changed their id, went and came again."""
    connection.execute(
        """INSERT INTO "Customer" (id, name, email, api_key_hash) VALUES ('cust', '', '', '')"""
    )

    async def published() -> Snapshot:
        async with await connect(database_url) as reader:
            return await read_snapshot(reader)

    were = []
    for change in CHANGES:
        connection.execute(change.encode())
        were.append(asyncio.run(published()))

    assert len({one.revision for one in were}) == len(CHANGES)
    assert [snapshot_at(connection, one.revision) for one in were] == were
    assert [len(one.rows) for one in were] == [2, 3, 3, 2, 2, 1, 2, 0]
    assert current_revision(connection) == were[-1].revision
    assert whole_from(connection) < were[0].revision
    assert snapshot_at(connection, were[0].revision - 1).rows == {}

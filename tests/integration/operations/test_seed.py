"""Seeding prices, and what seeding again must leave alone."""

from decimal import Decimal
from typing import Any, cast

import psycopg

from sinks.seed import seed

Connection = psycopg.Connection[Any]


def price(connection: Connection, model: str, cost_type: str) -> tuple[Decimal, int]:
    row = connection.execute(
        'SELECT cost_per_unit, unit_size FROM "ProviderCost" WHERE model = %s AND cost_type = %s '
        "AND valid_from <= '2025-01-17' AND valid_until IS NULL",
        [model, cost_type],
    ).fetchone()
    return cast("tuple[Decimal, int]", row)


def test_seed_holds_the_guides_prices(connection: Connection) -> None:
    """The guide's models have a price in force at the guide's dates, so its numbers come out."""
    assert seed(connection) == 112
    assert price(connection, "gpt-4-turbo", "INPUT_TOKEN") == (Decimal(5), 1_000_000)
    assert price(connection, "gpt-4-turbo", "OUTPUT_TOKEN") == (Decimal(20), 1_000_000)
    assert price(connection, "claude-3-sonnet", "OUTPUT_TOKEN") == (Decimal(15), 1_000_000)
    assert price(connection, "dall-e-3", "IMAGE") == (Decimal("0.04"), 1)


def test_no_model_is_priced_twice(connection: Connection) -> None:
    """No two seeded rows compete for one model."""
    seed(connection)
    row = connection.execute(
        'SELECT count(*), count(DISTINCT (provider, model, cost_type)) FROM "ProviderCost"'
    ).fetchone()
    assert row == (112, 112)


def test_seeding_again_keeps_an_operators_edits(connection: Connection) -> None:
    """Changed, ended and deleted prices stay so."""
    seed(connection)
    connection.execute(
        b"UPDATE \"ProviderCost\" SET cost_per_unit = 7 WHERE id = 'openai-gpt-4-turbo-input'; "
        b"UPDATE \"ProviderCost\" SET valid_until = now() WHERE id = 'openai-o1-input'; "
        b"DELETE FROM \"ProviderCost\" WHERE model = 'gpt-4o'"
    )
    assert seed(connection) == 0
    assert price(connection, "gpt-4-turbo", "INPUT_TOKEN") == (Decimal(7), 1_000_000)
    assert price(connection, "o1", "INPUT_TOKEN") is None
    assert price(connection, "gpt-4o", "INPUT_TOKEN") is None


def test_seed_leaves_a_row_with_its_id_alone(connection: Connection) -> None:
    """A row that an operator made under a seed's id is not overwritten."""
    connection.execute(
        'INSERT INTO "ProviderCost" (id, provider, model, cost_type, cost_per_unit, valid_from) '
        "VALUES ('openai-o1-input', 'OPENAI', 'o1', 'INPUT_TOKEN', 99, '2025-01-01')"
    )
    assert seed(connection) == 111
    assert price(connection, "o1", "INPUT_TOKEN")[0] == Decimal(99)

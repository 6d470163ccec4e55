"""The price book as it was at a revision, from the history that triggers keep in Postgres."""

from typing import Any

import psycopg
from psycopg.rows import dict_row

from schemas.pricing import PriceBook
from sinks.prices import Snapshot, snapshot
from sinks.statements import statement

# The published form of a row is said once, in provider_costs.sql and burn_tables.sql: here they
# read the rows of the history under the tables' names.
_AS_OF = b"""
WITH newest AS (
    SELECT DISTINCT ON (price_id) price
    FROM "PriceHistory"
    WHERE price_table = '%(table)b' AND revision <= %%(revision)s
    ORDER BY price_id, revision DESC, id DESC
), "%(table)b" AS (
    SELECT known.*
    FROM newest CROSS JOIN LATERAL jsonb_populate_record(NULL::"%(table)b", price) AS known
    WHERE price IS NOT NULL
)
%(query)b
"""


def snapshot_at(connection: psycopg.Connection[Any], revision: int) -> Snapshot:
    """Return the prices as they were published at a revision."""
    parameters = {"revision": revision}
    with connection.cursor(row_factory=dict_row) as cursor:
        costs, burn_tables = (
            cursor.execute(
                _AS_OF % {b"table": table, b"query": statement(name)}, parameters
            ).fetchall()
            for table, name in ((b"ProviderCost", "provider_costs"), (b"BurnTable", "burn_tables"))
        )
        return snapshot(revision, costs, burn_tables)


def book_at(connection: psycopg.Connection[Any], revision: int) -> PriceBook:
    """Return the price book as the streams had it at a revision."""
    return snapshot_at(connection, revision).book()


def current_revision(connection: psycopg.Connection[Any]) -> int:
    """Return the newest revision."""
    return _number(connection, statement("price_revision"))


def whole_from(connection: psycopg.Connection[Any]) -> int:
    """Return the revision below which prices are known as they were later, or not at all."""
    return _number(connection, b'SELECT revision FROM "PriceHistoryBegin"')


def _number(connection: psycopg.Connection[Any], query: bytes) -> int:
    row = connection.execute(query).fetchone()
    if row is None:
        raise LookupError(f"no row of {query.decode()}")
    return int(row[0])

"""A test's database as the sink's transaction sees and changes it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sinks.agent import apply
from sinks.batch import RatedRecord
from sinks.postgres import connect
from sinks.transaction import Work
from tests.rated_batches import CUSTOMER

if TYPE_CHECKING:
    import psycopg

TOPIC = "usage.raw"
PARTITIONS = 3


class Ledger:
    """What is in the database, and the sink's transaction on it."""

    def __init__(self, url: str, connection: "psycopg.AsyncConnection[dict[str, Any]]") -> None:
        self.url = url
        self.connection = connection

    async def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """Run one statement and return its rows."""
        cursor = await self.connection.execute(query.encode(), parameters)
        return await cursor.fetchall() if cursor.description else []

    async def value(self, query: str, *parameters: Any) -> Any:
        """Run a query of one row and column."""
        (row,) = await self.rows(query, *parameters)
        (value,) = row.values()
        return value

    async def add_customer(self, customer: str, status: str = "ACTIVE") -> None:
        """Create a customer."""
        await self.rows(
            'INSERT INTO "Customer" (id, name, email, status, api_key_hash)'
            " VALUES (%s, %s, %s, %s, %s)",
            customer,
            customer,
            f"{customer}@example.com",
            status,
            customer,
        )

    async def prepare(self, topic: str = TOPIC) -> None:
        """Create a customer with a million credits, and positions at 0."""
        await self.add_customer(CUSTOMER)
        await self.rows(
            'INSERT INTO "CreditWallet" (id, customer_id, balance) VALUES (%s, %s, 1000000)',
            "wallet-1",
            CUSTOMER,
        )
        for partition in range(PARTITIONS):
            await self.rows(
                'INSERT INTO "SinkOffset" (topic, partition) VALUES (%s, %s)', topic, partition
            )

    async def apply(self, *records: RatedRecord, expects_conflicts: bool = False) -> Work:
        """Apply records in one transaction of a connection of their own."""
        async with await connect(self.url) as connection:
            work = Work(
                connection, TOPIC, by_partition(records), expects_conflicts=expects_conflicts
            )
            await apply(work)
            return work


def by_partition(records: Iterable[RatedRecord]) -> dict[int, list[RatedRecord]]:
    """Return records by partition, partitions ascending, each one's in the given order."""
    found: dict[int, list[RatedRecord]] = {}
    for record in sorted(records, key=lambda one: one.batch.partition):
        found.setdefault(record.batch.partition, []).append(record)
    return found

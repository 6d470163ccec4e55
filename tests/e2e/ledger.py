"""What tests of the whole system ask the ledger, and how they make customers in it."""

import hashlib
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.waiting import wait_until

SETTLE_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Ledger:
    """Reads the database of a test."""

    database_url: str

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Run a statement of a test and return its rows, if it has any."""
        with psycopg.connect(self.database_url, row_factory=dict_row) as connection:
            cursor = connection.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def create_customer(self, customer_id: str, balance: int = 1_000_000) -> str:
        """Make a customer with a wallet; return the API key."""
        api_key = f"om_test_{customer_id}"
        self.rows(
            'INSERT INTO "Customer" (id, name, email, api_key_hash) VALUES (%s, %s, %s, %s)',
            customer_id,
            customer_id,
            f"{customer_id}@example.com",
            hashlib.sha256(api_key.encode()).hexdigest(),
        )
        self.rows(
            'INSERT INTO "CreditWallet" (id, customer_id, balance) VALUES (%s, %s, %s)',
            f"wallet_{customer_id}",
            customer_id,
            balance,
        )
        return api_key

    def charged(self) -> dict[str, int]:
        """Credits of every charged event, by event id."""
        found = self.rows('SELECT id::text, credits_burned FROM "UsageEvent"')
        return {row["id"]: row["credits_burned"] for row in found}

    def balance(self, customer_id: str) -> int:
        """Balance of a customer's own wallet."""
        query = 'SELECT balance FROM "CreditWallet" WHERE customer_id = %s'
        return int(self.rows(query, customer_id)[0]["balance"])

    def letters(self) -> list[dict[str, Any]]:
        """All dead letters, in the order of their positions."""
        return self.rows('SELECT * FROM "DeadLetter" ORDER BY partition, "offset", index')

    def wait_until_charged(self, *event_ids: str) -> None:
        """Wait until these events are charged."""
        wait_until(
            lambda: set(event_ids) <= self.charged().keys(),
            SETTLE_TIMEOUT_SECONDS,
            f"{event_ids} are charged",
        )

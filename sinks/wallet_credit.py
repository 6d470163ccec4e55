"""`burnstream wallet credit`: a top-up under the lock that the sinks take, once per key."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from importlib import resources
from typing import Any

import psycopg
from psycopg.rows import class_row, scalar_row

ATTEMPTS_MAX = 3


class CreditType(StrEnum):
    """Why a wallet is credited."""

    PURCHASE = "PURCHASE"
    GRANT = "GRANT"
    REFUND = "REFUND"


class CreditError(Exception):
    """The credit is refused; the message says why and what to do."""


@dataclass(frozen=True)
class Credit:
    """One credit in a wallet's chain, as the ledger holds it."""

    id: str
    customer_id: str
    wallet_id: str
    transaction_type: str
    amount: int
    balance_before: int
    balance_after: int
    wallet_seq: int
    created_at: datetime


_FIND = (
    b"SELECT id, customer_id, wallet_id, transaction_type, amount, balance_before, balance_after, "
    b'wallet_seq, created_at FROM "CreditTransaction" '
    b"WHERE customer_id = %(customer)s AND idempotency_key = %(key)s"
)


def credit(
    connection: psycopg.Connection[Any],
    *,
    customer_id: str,
    amount: int,
    idempotency_key: str,
    credit_type: CreditType = CreditType.PURCHASE,
    wallet_id: str | None = None,
    description: str | None = None,
) -> tuple[Credit, bool]:
    """Credit the wallet (the customer's own, unless one is named); return it and whether it is new.

    The same key again returns the first credit and changes nothing.

    Raises:
        CreditError: no such customer or wallet, or the key stands for another credit.
        psycopg.OperationalError: Postgres is unreachable.
    """
    if amount <= 0:
        raise CreditError(f"the amount must be a whole number of credits above 0, not {amount}")
    values = {
        "customer": customer_id,
        "amount": amount,
        "key": idempotency_key,
        "type": str(credit_type),
        "wallet": wallet_id,
        "description": description,
    }
    for _ in range(ATTEMPTS_MAX):
        try:
            with connection.transaction():
                return _credit_once(connection, values)
        except psycopg.errors.UniqueViolation:
            # The same key was committed by another session after this one had looked.
            continue
        except psycopg.errors.NumericValueOutOfRange:
            raise CreditError("the balance would not fit in 64 bits") from None
    raise CreditError(f"other credits under the key {idempotency_key!r} are under way; try again")


def _credit_once(
    connection: psycopg.Connection[Any], values: dict[str, Any]
) -> tuple[Credit, bool]:
    with connection.cursor(row_factory=class_row(Credit)) as cursor:
        wallet = _lock_wallet(connection, values["customer"], values["wallet"])
        existing = cursor.execute(_FIND, values).fetchone()
        if existing:
            _same_or_refuse(existing, values)
            return existing, False
        append = (resources.files("sinks") / "sql" / "wallet_credit.sql").read_bytes()
        row = cursor.execute(append, values | {"wallet": wallet}).fetchone()
        if row is None:
            raise CreditError(f"wallet {wallet!r} is gone")
        return row, True


def _lock_wallet(
    connection: psycopg.Connection[Any], customer_id: str, wallet_id: str | None
) -> str:
    """Lock the named wallet, or the customer's own (made when there is none); return its id."""
    with connection.cursor(row_factory=scalar_row) as cursor:
        found = cursor.execute(
            'SELECT 1 FROM "Customer" WHERE id = %s FOR KEY SHARE', [customer_id]
        )
        if found.fetchone() is None:
            raise CreditError(
                f"there is no customer {customer_id!r}; `burnstream customer create` makes one"
            )
        if wallet_id is None:
            wallet_id = _own_wallet(cursor, customer_id)
        locked = cursor.execute(
            'SELECT id FROM "CreditWallet" WHERE id = %s AND customer_id = %s FOR UPDATE',
            [wallet_id, customer_id],
        ).fetchone()
    if locked is None:
        raise CreditError(f"customer {customer_id!r} has no wallet {wallet_id!r}")
    return str(locked)


def _own_wallet(cursor: psycopg.Cursor[Any], customer_id: str) -> str:
    """The customer's oldest wallet that is no user's and no team's: the one that burns debit."""
    query = (
        'SELECT id FROM "CreditWallet" '
        "WHERE customer_id = %s AND user_id IS NULL AND team_id IS NULL "
        "ORDER BY created_at, id LIMIT 1"
    )
    found = cursor.execute(query, [customer_id]).fetchone()
    if found is not None:
        return str(found)
    wallet_id = f"wallet_{customer_id}"
    cursor.execute(
        'INSERT INTO "CreditWallet" (id, customer_id) VALUES (%s, %s) ON CONFLICT DO NOTHING',
        [wallet_id, customer_id],
    )
    return wallet_id


def _same_or_refuse(existing: Credit, values: dict[str, Any]) -> None:
    """A key stands for one credit; another amount under it is a mistake that must be seen."""
    if (existing.amount, existing.transaction_type) != (values["amount"], values["type"]) or (
        values["wallet"] not in (None, existing.wallet_id)
    ):
        raise CreditError(
            f"the key {values['key']!r} stands for {existing.transaction_type} of "
            f"{existing.amount} credits in wallet {existing.wallet_id!r} already; use another key"
        )

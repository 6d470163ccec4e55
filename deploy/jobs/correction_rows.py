"""The ledger rows that bring what events cost to what they should have cost: pure.

A correction is never an edit: a REFUND gives credits back, a BURN takes more. Its idempotency key
is of the job and the event, so that the ledger itself refuses a second one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sinks.wallets import BALANCE_MAX, BALANCE_MIN, Account

KEY_PREFIX = "reprice:"


@dataclass(frozen=True, slots=True)
class Correction:
    """What one event has cost so far, and what it should; credits, 0 or more.

    `corrects`: the transaction that burned for it first; None: it was free. `wallet_id`: whose.
    """

    customer_id: str
    event_id: str
    wallet_id: str
    corrects: str | None
    credits_before: int
    credits_after: int


class CorrectionRow(NamedTuple):
    """A row of CreditTransaction. `created_at`: microseconds since 2000.

    `credits`: what the event costs with it.
    """

    customer_id: str
    event_id: str
    wallet_id: str
    corrects: str | None
    credits: int
    transaction_type: str
    amount: int
    balance_before: int
    balance_after: int
    wallet_seq: int
    created_at: int


class CorrectionError(ValueError):
    """A balance cannot hold a correction; no account was changed."""


def idempotency_key(job: str, event_id: str) -> str:
    """Return the key of a job's correction of an event: within a customer there is one of it."""
    return f"{KEY_PREFIX}{job}:{event_id}"


def correct(
    accounts: Mapping[str, Account], corrections: Sequence[Correction], now: int
) -> list[CorrectionRow]:
    """Return a row for each event that costs other than it should, in order; accounts are changed.

    `now`: microseconds since 2000; along a wallet's chain times rise strictly all the same.
    Raises CorrectionError, and KeyError where a wallet is not among the accounts.
    """
    changes = [one for one in corrections if one.credits_before != one.credits_after]
    balances = {one.wallet_id: accounts[one.wallet_id].balance for one in changes}
    for one in changes:
        balances[one.wallet_id] += one.credits_before - one.credits_after
        if not BALANCE_MIN <= balances[one.wallet_id] <= BALANCE_MAX:
            raise CorrectionError(
                f"the balance of wallet {one.wallet_id!r} cannot hold the correction of "
                f"event {one.event_id}"
            )
    return [_row(accounts[one.wallet_id], one, now) for one in changes]


def _row(account: Account, one: Correction, now: int) -> CorrectionRow:
    amount = one.credits_before - one.credits_after
    return CorrectionRow(
        one.customer_id,
        one.event_id,
        one.wallet_id,
        one.corrects,
        one.credits_after,
        "REFUND" if amount > 0 else "BURN",
        amount,
        *account.append(amount, now),
    )

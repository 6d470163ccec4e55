"""Whose wallet pays, and what each debit makes of its balance. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from sinks.copy_rows import BurnRow

BALANCE_MIN = -(2**63)

Scope = tuple[str, str, str]  # customer, "team" | "user" | "customer", id within the customer


class Wallet(NamedTuple):
    """A wallet as it is looked up: who it belongs to."""

    id: str
    customer_id: str
    user_id: str | None
    team_id: str | None


class Debit(NamedTuple):
    """What one charged event takes from a wallet."""

    wallet_id: str
    customer_id: str
    usage_event_id: str
    credits: int


@dataclass(slots=True)
class Account:
    """A locked wallet. `last_created_at`: of its newest transaction, microseconds since 2000."""

    balance: int
    last_seq: int
    last_created_at: int | None


@dataclass(frozen=True, slots=True)
class Burns:
    """Ledger rows in the order of the debits, and the numbers of the debits refused."""

    rows: list[BurnRow] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)


def scope_of(wallet: Wallet) -> Scope:
    """Return whose usage a wallet pays: a team's, else a user's, else the customer's own."""
    if wallet.team_id is not None:
        return wallet.customer_id, "team", wallet.team_id
    if wallet.user_id is not None:
        return wallet.customer_id, "user", wallet.user_id
    return wallet.customer_id, "customer", ""


def wallets_by_scope(wallets_oldest_first: Iterable[Wallet]) -> dict[Scope, str]:
    """Return the id of the oldest wallet of each scope."""
    found: dict[Scope, str] = {}
    for wallet in wallets_oldest_first:
        found.setdefault(scope_of(wallet), wallet.id)
    return found


def choose_wallet(
    by_scope: dict[Scope, str], customer_id: str, user_id: str | None, team_id: str | None
) -> str | None:
    """Return the wallet that pays, by existence: the team's, else the user's, else the customer's.

    Only wallets of this customer are looked at: a team of that name may exist elsewhere. None: the
    customer has none of the three.
    """
    if team_id is not None and (found := by_scope.get((customer_id, "team", team_id))):
        return found
    if user_id is not None and (found := by_scope.get((customer_id, "user", user_id))):
        return found
    return by_scope.get((customer_id, "customer", ""))


def burn(
    accounts: dict[str, Account], debits: Iterable[tuple[str, str, str, int]], now: int
) -> Burns:
    """Take each debit, in order, from its account (changed in place) and return the ledger rows.

    `debits`: `Debit`, or tuples of its fields, which cost less to make.

    Along a wallet's chain `wallet_seq` counts on and `created_at` rises strictly, from `now`
    (microseconds since 2000) or from the last transaction, whichever is later. A debit that would
    take a balance below what a bigint holds is refused and changes nothing.
    """
    burns = Burns()
    for number, (wallet_id, customer_id, usage_event_id, credits_) in enumerate(debits):
        account = accounts[wallet_id]
        if account.balance - credits_ < BALANCE_MIN:
            burns.refused.append(number)
            continue
        last = account.last_created_at
        created_at = now if last is None or last < now else last + 1
        account.last_seq += 1
        burns.rows.append(
            BurnRow(
                wallet_id,
                customer_id,
                usage_event_id,
                credits_,
                account.balance,
                account.last_seq,
                created_at,
            )
        )
        account.balance -= credits_
        account.last_created_at = created_at
    return burns

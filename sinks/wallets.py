"""Whose wallet pays, and what each debit makes of its balance. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sinks.binary_columns import Int64s

BALANCE_MIN = -(2**63)
BALANCE_MAX = 2**63 - 1

Scope = tuple[str, str, str]  # customer, "team" | "user" | "customer", id within the customer


class Wallet(NamedTuple):
    """A wallet as it is looked up: who it belongs to."""

    id: str
    customer_id: str
    user_id: str | None
    team_id: str | None


@dataclass(slots=True)
class Account:
    """A locked wallet. `last_created_at`: of its newest transaction, microseconds since 2000."""

    balance: int
    last_seq: int
    last_created_at: int | None

    def next_created_at(self, now: int) -> int:
        """Return the time of the next transaction: strictly behind the last one."""
        last = self.last_created_at
        return now if last is None or last < now else last + 1

    def append(self, amount: int, now: int) -> tuple[int, int, int, int]:
        """Move to the wallet's next transaction.

        Returns the balance before and after it, its place in the chain, and its time.
        """
        before = self.balance
        self.last_created_at = self.next_created_at(now)
        self.balance = before + amount
        self.last_seq += 1
        return before, self.balance, self.last_seq, self.last_created_at


@dataclass(frozen=True, slots=True)
class Burns:
    """What debits made of their accounts: a ledger row each, by wallet, in the order of the debits.

    All but `refused` are columns of those rows; times in microseconds since 2000.
    """

    debits: Int64s  # the numbers of the debits
    wallets: Int64s  # the numbers of the accounts
    credits: Int64s
    balances_before: Int64s
    wallet_seqs: Int64s
    created_at: Int64s
    refused: Sequence[int]  # numbers of debits that no row was made for


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


def burn(accounts: Sequence[Account], wallets: Int64s, credits_: Int64s, now: int) -> Burns:
    """Take each debit, in order, from its account (changed in place) and return the ledger rows.

    A debit is a wallet, the number of its account, and what it takes, 1 or more.

    Along a wallet's chain `wallet_seq` counts on and `created_at` rises strictly, from `now`
    (microseconds since 2000) or from the last transaction, whichever is later. A debit that would
    take a balance below what a bigint holds is refused and changes nothing.
    """
    refused = _refused(accounts, wallets, credits_)
    debits = np.argsort(wallets, kind="stable")
    if refused:
        debits = debits[~np.isin(debits, refused)]
    wallets, credits_ = wallets[debits], credits_[debits]
    starts = np.flatnonzero(np.diff(wallets, prepend=-1))
    counts = np.diff(starts, append=len(wallets))
    # Sums may pass what 64 bits hold and come back: what is left of them is within.
    spent = np.cumsum(credits_)
    spent_before = spent - credits_
    spent_before -= np.repeat(spent_before[starts], counts)
    ranks = np.arange(len(wallets)) - np.repeat(starts, counts)
    burnt = [accounts[number] for number in wallets[starts].tolist()]
    balances = np.array([account.balance for account in burnt], np.int64)
    seqs = np.array([account.last_seq for account in burnt], np.int64)
    times = np.array([account.next_created_at(now) for account in burnt], np.int64)
    balances_before = np.repeat(balances, counts) - spent_before
    wallet_seqs = np.repeat(seqs + 1, counts) + ranks
    created_at = np.repeat(times, counts) + ranks
    ends = starts + counts - 1
    for account, balance, seq, time in zip(
        burnt,
        (balances_before[ends] - credits_[ends]).tolist(),
        wallet_seqs[ends].tolist(),
        created_at[ends].tolist(),
        strict=True,
    ):
        account.balance, account.last_seq, account.last_created_at = balance, seq, time
    return Burns(debits, wallets, credits_, balances_before, wallet_seqs, created_at, refused)


def _refused(accounts: Sequence[Account], wallets: Int64s, credits_: Int64s) -> list[int]:
    """Return the numbers of the debits that are one too many; hardly ever are there any."""
    lowest = min((account.balance for account in accounts), default=0)
    if lowest - len(credits_) * int(credits_.max(initial=0)) >= BALANCE_MIN:
        return []
    balances = [account.balance for account in accounts]
    refused = []
    for number, (wallet, taken) in enumerate(zip(wallets.tolist(), credits_.tolist(), strict=True)):
        if balances[wallet] - taken < BALANCE_MIN:
            refused.append(number)
        else:
            balances[wallet] -= taken
    return refused

"""What the sink's debits make of wallets, one ledger row each, in the order of the debits."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sinks import wallets
from sinks.binary_columns import int64s
from sinks.wallets import Account


class Debit(NamedTuple):
    """What one charged event takes from a wallet."""

    wallet_id: str
    customer_id: str
    usage_event_id: str
    credits: int


class BurnRow(NamedTuple):
    """One debit of a wallet, as the ledger keeps it. Times in microseconds since 2000."""

    wallet_id: str
    customer_id: str
    usage_event_id: str
    credits: int
    balance_before: int
    wallet_seq: int
    created_at: int


@dataclass(frozen=True, slots=True)
class Burnt:
    """Ledger rows in the order of the debits, and the numbers of the debits refused."""

    rows: list[BurnRow]
    refused: list[int]


def burn(accounts: dict[str, Account], debits: Iterable[Debit], now: int) -> Burnt:
    """Take each debit from its account, changed in place, as the sink does."""
    debits, numbers = list(debits), {name: number for number, name in enumerate(accounts)}
    burns = wallets.burn(
        list(accounts.values()),
        int64s([numbers[debit.wallet_id] for debit in debits]),
        int64s([debit.credits for debit in debits]),
        now,
    )
    columns = (
        burns.debits,
        burns.wallets,
        burns.credits,
        burns.balances_before,
        burns.wallet_seqs,
        burns.created_at,
    )
    names = list(accounts)
    rows = {}
    for number, wallet, *rest in zip(*(column.tolist() for column in columns), strict=True):
        _, customer_id, usage_event_id, _ = debits[number]
        rows[number] = BurnRow(names[wallet], customer_id, usage_event_id, *rest)
    return Burnt([rows[number] for number in sorted(rows)], list(burns.refused))

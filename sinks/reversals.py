"""The ledger rows that undo a charge. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sinks.wallets import BALANCE_MAX, Account


class Entry(NamedTuple):
    """A transaction that names an event: what it did to a wallet, in credits; a burn is below 0."""

    transaction_id: str
    wallet_id: str
    amount: int


class Refund(NamedTuple):
    """A ledger row of type REFUND. `created_at`: microseconds since 2000.

    `transaction_id`: the first transaction of that wallet which it undoes.
    """

    transaction_id: str
    wallet_id: str
    amount: int
    balance_before: int
    balance_after: int
    wallet_seq: int
    created_at: int


class RefundError(ValueError):
    """What was charged cannot be refunded; no account was changed."""


def reverse(accounts: Mapping[str, Account], entries: Sequence[Entry], now: int) -> list[Refund]:
    """Undo what entries, oldest first, did to their wallets; accounts are changed in place.

    One row per wallet whose entries do not sum to 0, in the order of their first entries. `now`:
    microseconds since 2000; along a wallet's chain times rise strictly all the same.

    Raises RefundError: an event has been credited more than it burned, or a balance cannot hold
    the refund. Raises KeyError: a wallet is not among the accounts. Then nothing is changed.
    """
    first: dict[str, str] = {}
    nets: dict[str, int] = {}
    for transaction_id, wallet, amount in entries:
        first.setdefault(wallet, transaction_id)
        nets[wallet] = nets.get(wallet, 0) + amount
    for wallet, net in nets.items():
        if net > 0:
            raise RefundError(f"wallet {wallet!r} was credited {net} more than the event burned")
        if accounts[wallet].balance - net > BALANCE_MAX:
            raise RefundError(f"the balance of wallet {wallet!r} cannot go higher")
    return [
        Refund(first[wallet], wallet, -net, *accounts[wallet].append(-net, now))
        for wallet, net in nets.items()
        if net
    ]

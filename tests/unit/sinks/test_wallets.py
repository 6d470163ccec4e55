"""Whose wallet pays, and the chain of debits."""

import pytest

from sinks.wallets import (
    BALANCE_MIN,
    Account,
    Wallet,
    choose_wallet,
    wallets_by_scope,
)
from tests.burning import Debit, burn

WALLETS = wallets_by_scope(
    [
        Wallet("own", "c1", None, None),
        Wallet("own-younger", "c1", None, None),
        Wallet("user", "c1", "u1", None),
        Wallet("team", "c1", "u1", "t1"),
        Wallet("foreign", "c2", None, "t2"),
    ]
)


@pytest.mark.parametrize(
    ("user", "team", "wallet"),
    [
        (None, None, "own"),
        ("u1", None, "user"),
        ("u1", "t1", "team"),
        ("u2", "t1", "team"),
        ("u1", "t2", "user"),
        ("u2", "t2", "own"),
    ],
)
def test_the_nearest_wallet_that_exists_pays(
    user: str | None, team: str | None, wallet: str
) -> None:
    """Team, else user, else customer; the oldest of its kind; never another customer's."""
    assert choose_wallet(WALLETS, "c1", user, team) == wallet


def test_a_customer_without_any_wallet_has_none() -> None:
    """Somebody else's team of that name does not pay."""
    assert choose_wallet(WALLETS, "c3", "u1", "t2") is None


def debit(wallet: str, credits_: int) -> Debit:
    return Debit(wallet, "c1", "e", credits_)


def test_debits_chain_by_balance_sequence_and_time() -> None:
    """Each row begins where the last ended; two wallets do not touch each other."""
    accounts = {"a": Account(100, 7, 50), "b": Account(0, 0, None)}
    rows = burn(accounts, [debit("a", 30), debit("b", 5), debit("a", 90)], now=20).rows
    assert [(r.wallet_id, r.balance_before, r.wallet_seq, r.created_at) for r in rows] == [
        ("a", 100, 8, 51),
        ("b", 0, 1, 20),
        ("a", 70, 9, 52),
    ]
    assert (accounts["a"].balance, accounts["b"].balance) == (-20, -5)


def test_time_goes_on_from_the_clock_when_that_is_later() -> None:
    """The first row of a transaction carries the clock, the next ones rise from it."""
    rows = burn({"a": Account(0, 1, 10)}, [debit("a", 1), debit("a", 1)], now=99).rows
    assert [row.created_at for row in rows] == [99, 100]


def test_a_debit_below_what_a_balance_holds_is_refused_alone() -> None:
    """It changes nothing: the debits around it chain as if it were not there."""
    accounts = {"a": Account(BALANCE_MIN + 10, 0, None)}
    burns = burn(accounts, [debit("a", 4), debit("a", 7), debit("a", 6)], now=0)
    assert burns.refused == [1]
    assert [row.wallet_seq for row in burns.rows] == [1, 2]
    assert accounts["a"].balance == BALANCE_MIN

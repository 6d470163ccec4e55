"""What a void gives back."""

import pytest

from sinks.reversals import Entry, RefundError, reverse
from sinks.wallets import BALANCE_MAX, Account


def test_a_refund_goes_on_from_the_end_of_its_wallets_chain() -> None:
    """It gives back what the event burned, names the burn, and is later than the row before it."""
    accounts = {"a": Account(-20, 8, 50)}

    (row,) = reverse(accounts, [Entry("txn-1", "a", -30)], now=10)

    assert row == ("txn-1", "a", 30, -20, 10, 9, 51)
    assert accounts["a"] == Account(10, 9, 51)


def test_what_was_given_back_before_is_not_given_twice() -> None:
    """A reprice that made an event cheaper has its part in the sum; an event at 0 gets no row."""
    accounts = {"a": Account(0, 2, None), "b": Account(0, 2, None)}
    entries = [
        Entry("txn-1", "a", -30),
        Entry("txn-2", "a", 10),
        Entry("txn-3", "b", -5),
        Entry("txn-4", "b", 5),
    ]

    rows = reverse(accounts, entries, now=0)

    assert [(row.transaction_id, row.amount) for row in rows] == [("txn-1", 20)]
    assert accounts["b"] == Account(0, 2, None)


@pytest.mark.parametrize(
    ("entries", "balance"),
    [
        ([Entry("txn-1", "a", -1), Entry("txn-2", "b", -2)], BALANCE_MAX - 1),
        ([Entry("txn-1", "a", -1), Entry("txn-2", "b", 2)], 0),
    ],
)
def test_what_cannot_be_refunded_changes_nothing(entries: list[Entry], balance: int) -> None:
    """Not even the wallets that could take their part."""
    accounts = {"a": Account(0, 1, None), "b": Account(balance, 1, None)}

    with pytest.raises(RefundError, match="'b'"):
        reverse(accounts, entries, now=0)

    assert accounts["a"] == Account(0, 1, None)

"""A refund and what it undoes sum to 0, in every wallet, and the chain goes on."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sinks.reversals import Entry, reverse
from sinks.wallets import Account

WALLETS = ("a", "b", "c")
burnt = st.lists(st.tuples(st.sampled_from(WALLETS), st.integers(1, 10**12)), max_size=8)
balances = st.integers(-(10**15), 10**15)


@given(burnt, st.lists(balances, min_size=3, max_size=3), st.integers(0, 100))
def test_a_reversal_undoes_exactly_what_was_charged(
    drawn: list[tuple[str, int]], starts: list[int], now: int
) -> None:
    """Every wallet holds what it held before the burns; the next reversal finds nothing to do."""
    entries = [
        Entry(f"txn-{number}", wallet, -credits_) for number, (wallet, credits_) in enumerate(drawn)
    ]
    accounts = {
        wallet: Account(start + sum(e.amount for e in entries if e.wallet_id == wallet), 5, 50)
        for wallet, start in zip(WALLETS, starts, strict=True)
    }

    rows = reverse(accounts, entries, now)

    assert [accounts[wallet].balance for wallet in WALLETS] == starts
    assert all(row.amount > 0 for row in rows)
    assert len({row.wallet_id for row in rows}) == len(rows)
    done = entries + [Entry("txn-refund", row.wallet_id, row.amount) for row in rows]
    assert reverse(accounts, done, now) == []


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=20), st.integers(0, 100))
def test_refunds_of_a_wallet_chain(burns: list[int], now: int) -> None:
    """Each begins where the last ended, by balance and place, at a later time."""
    accounts = {"a": Account(-sum(burns), len(burns), 40)}

    rows = [
        row
        for number, credits_ in enumerate(burns)
        for row in reverse(accounts, [Entry(f"txn-{number}", "a", -credits_)], now)
    ]

    assert rows[0].wallet_seq == len(burns) + 1
    for last, row in pairwise(rows):
        assert row.balance_before == last.balance_after
        assert row.wallet_seq == last.wallet_seq + 1
        assert row.created_at > last.created_at
    assert accounts["a"].balance == 0

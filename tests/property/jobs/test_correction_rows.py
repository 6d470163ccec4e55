"""Corrections make each event cost what it should, and every wallet's chain goes on."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from deploy.jobs.correction_rows import Correction, correct
from sinks.wallets import Account

WALLETS = ("a", "b", "c")
costs = st.integers(0, 10**12)
events = st.lists(st.tuples(st.sampled_from(WALLETS), costs, costs), max_size=30)
starts = st.lists(st.integers(-(10**15), 10**15), min_size=3, max_size=3)


@given(events, starts, st.integers(0, 100))
def test_the_ledger_comes_to_what_it_should(
    drawn: list[tuple[str, int, int]], balances: list[int], now: int
) -> None:
    """By wallet: what was billed less what should be; a second look finds nothing to do."""
    accounts = {
        wallet: Account(balance, 5, 50) for wallet, balance in zip(WALLETS, balances, strict=True)
    }
    wanted = [
        Correction("c", f"e{number}", wallet, f"txn-{number}", before, after)
        for number, (wallet, before, after) in enumerate(drawn)
    ]

    rows = correct(accounts, wanted, now)

    for wallet, balance in zip(WALLETS, balances, strict=True):
        own = [one for one in wanted if one.wallet_id == wallet]
        given_back = sum(one.credits_before - one.credits_after for one in own)
        assert accounts[wallet].balance == balance + given_back
        chain = [row for row in rows if row.wallet_id == wallet]
        for last, row in pairwise(chain):
            assert row.balance_before == last.balance_after
            assert row.wallet_seq == last.wallet_seq + 1
            assert row.created_at > last.created_at
        assert all(row.created_at > 50 for row in chain)
    assert all((row.amount > 0) is (row.transaction_type == "REFUND") for row in rows)
    assert len(rows) == sum(before != after for _, before, after in drawn)
    done = [
        Correction("c", one.event_id, one.wallet_id, None, one.credits_after, one.credits_after)
        for one in wanted
    ]
    assert correct(accounts, done, now) == []

"""Corrections as ledger rows."""

import pytest

from deploy.jobs.correction_rows import (
    Correction,
    CorrectionError,
    correct,
    idempotency_key,
)
from sinks.wallets import BALANCE_MAX, Account


def correction(number: int, before: int, after: int, wallet: str = "w") -> Correction:
    return Correction("c", f"e{number}", wallet, f"txn-{number}", before, after)


def test_more_is_burned_and_less_is_given_back() -> None:
    """One row an event that changes; each begins where the last one of its wallet ended."""
    accounts = {"w": Account(100, 7, 50), "v": Account(0, 0, None)}
    rows = correct(
        accounts,
        [correction(1, 10, 14), correction(2, 5, 5), correction(3, 9, 0), correction(4, 0, 3, "v")],
        now=40,
    )
    assert [
        (row.event_id, row.transaction_type, row.amount, row.balance_before, row.balance_after)
        for row in rows
    ] == [("e1", "BURN", -4, 100, 96), ("e3", "REFUND", 9, 96, 105), ("e4", "BURN", -3, 0, -3)]
    assert [(row.wallet_seq, row.created_at) for row in rows] == [(8, 51), (9, 52), (1, 40)]
    assert accounts == {"w": Account(105, 9, 52), "v": Account(-3, 1, 40)}
    assert [row.credits for row in rows] == [14, 0, 3]


def test_what_does_not_fit_changes_nothing() -> None:
    """A balance at its limit refuses all of the transaction."""
    accounts = {"w": Account(BALANCE_MAX - 1, 3, 1)}
    with pytest.raises(CorrectionError, match="e2"):
        correct(accounts, [correction(1, 1, 0), correction(2, 5, 0)], now=0)
    assert accounts == {"w": Account(BALANCE_MAX - 1, 3, 1)}


def test_the_key_is_of_job_and_event() -> None:
    """So the ledger refuses a second correction of one job."""
    assert idempotency_key("june", "e1") == "reprice:june:e1"

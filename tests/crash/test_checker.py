"""The checker is itself checked: it must see each kind of fault, and only those."""

import copy
from decimal import Decimal

import pytest

from tests.crash.burns import Burn, RatedLog, published_faults
from tests.crash.checker import Ledger, Letter, faults
from tests.crash.model import Model, Usage


def healthy() -> tuple[Model, Ledger]:
    model = Model()
    model.acknowledged([Usage("u1", "c", frozenset({"a", "b"}), 15)])
    model.acknowledged([Usage("u1", "c", frozenset({"a"}), 15)])
    model.acknowledged([Usage("free", "c", frozenset({"f"}), 0)])
    model.acknowledged([Usage("bad", "c", frozenset({"x"}), None)])
    model.aborted.add("gone")
    ledger = Ledger(
        credits_by_event={"b": [15], "f": [0]},
        burns_by_event={"b": [-15]},
        dead_letter_events={"x"},
        burned_by_customer={"c": 15},
        letters=[
            Letter("0:0:0:0", "OPEN"),
            Letter("0:0:1:0", "DISCARDED"),
            Letter("0:0:2:0", "REPLAYED", is_charged=True, has_replay=True),
            Letter("0:0:3:0", "REPLAYED", has_replay=True),
            Letter("0:0:4:0", "OPEN", replay_of="0:0:3:0"),
            Letter("0:0:5:0", "REPLAYED", has_identity=False, has_replay=True),
            Letter("0:0:6:0", "REPLAYED", has_identity=False),
        ],
    )
    return model, ledger


def test_healthy_ledger_has_no_faults() -> None:
    """One row per usage under any of its ids, its burn, its letter, its wallet."""
    assert faults(*healthy()) == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        pytest.param({"credits_by_event": {"f": [0]}}, "lost", id="lost"),
        pytest.param(
            {"credits_by_event": {"a": [15], "b": [15], "f": [0]}}, "doubled", id="doubled"
        ),
        pytest.param({"credits_by_event": {"b": [16], "f": [0]}}, "amount", id="amount"),
        pytest.param({"burns_by_event": {}}, "burns", id="no-burn"),
        pytest.param({"burns_by_event": {"b": [-15, -15]}}, "burns", id="two-burns"),
        pytest.param({"burns_by_event": {"b": [-15], "f": [-1]}}, "burns", id="burn-of-a-free"),
        pytest.param({"dead_letter_events": set()}, "vanished", id="vanished-letter"),
        pytest.param(
            {"credits_by_event": {"b": [15], "f": [0], "x": [1]}}, "charged", id="charged-letter"
        ),
        pytest.param(
            {"credits_by_event": {"b": [15], "f": [0], "z": [1]}}, "unknown", id="never-sent"
        ),
        pytest.param(
            {"credits_by_event": {"b": [15], "f": [0], "gone": [1]}}, "aborted", id="aborted"
        ),
        pytest.param(
            {"dead_letter_events": {"x", "gone"}}, "aborted", id="letter-of-an-aborted-event"
        ),
        pytest.param({"burned_by_customer": {"c": 30}}, "wallet", id="wallet"),
        pytest.param(
            {"letters": [Letter("0:0:2:0", "REPLAYED", has_replay=True)]},
            "letter",
            id="replayed-and-neither-charged-nor-a-letter",
        ),
        pytest.param(
            {"letters": [Letter("0:0:5:0", "REPLAYED", has_identity=False, has_replay=False)]},
            "letter",
            id="replay-of-rubbish-that-left-nothing",
        ),
    ],
)
def test_each_kind_of_fault_is_named(change: dict[str, object], kind: str) -> None:
    """A fault planted in a healthy ledger is seen under its name."""
    model, ledger = healthy()
    planted = copy.copy(ledger)
    for name, value in change.items():
        setattr(planted, name, value)

    assert kind in {fault.split(":")[0] for fault in faults(model, planted)}


def test_a_burn_of_a_lost_batch_is_held_to_its_sums() -> None:
    """Place and sums where the log has the batch; the sums alone where it lost it."""
    key = ("c", "hour", "2025-01-17T14:00:00Z", 0)
    log = RatedLog(burns={key: Burn(5, Decimal(1), 2, 40, 7)}, ends={(0, 7): 40})

    assert published_faults(log, {key: Burn(5, Decimal(1), 2, 40, 7)}) == []
    assert published_faults(log, {key: Burn(5, Decimal(1), 2, 36, 20)}) == []
    assert len(published_faults(log, {key: Burn(6, Decimal(1), 2, 36, 20)})) == 1
    assert len(published_faults(log, {key: Burn(4, Decimal(1), 2, 40, 7)})) == 1
    assert len(published_faults(log, {})) == 1

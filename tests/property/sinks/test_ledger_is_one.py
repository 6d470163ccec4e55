"""Whatever way rated batches arrive, the ledger is the same."""

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rated import RatedBatch
from sinks.batch import Reached, clip
from sinks.charges import Charge
from sinks.wallets import Account
from tests.burning import Debit, burn
from tests.rated_batches import batch, charged, event_id, record

OFFSETS = 30
WALLETS = ("a", "b")

# How many events each offset holds, and what each costs.
logs = st.lists(st.lists(st.integers(1, 50), max_size=3), min_size=OFFSETS, max_size=OFFSETS)
cuts = st.lists(st.tuples(st.integers(0, OFFSETS - 1), st.integers(1, OFFSETS)), max_size=40)


@dataclass
class LedgerModel:
    """What the sink's transactions make of the logs, with Postgres left out."""

    reached: Reached = field(default_factory=lambda: Reached(0, 0, 0, 0, 0))
    accounts: dict[str, Account] = field(
        default_factory=lambda: {name: Account(1_000, 0, None) for name in WALLETS}
    )
    rows: list[tuple[str, str, int, int, int]] = field(default_factory=list)
    times: dict[str, list[int]] = field(default_factory=dict)
    covered: list[tuple[int, int]] = field(default_factory=list)

    def apply(self, batches: list[RatedBatch], now: int) -> None:
        start = self.reached.rated_offset
        found = clip(self.reached, [record(start + n, one) for n, one in enumerate(batches)])
        self.reached = found.reached
        self.covered += [(one.first_offset, one.next_offset) for one in found.applied]
        charges = [charge for one in found.applied for charge in one.charges]
        for row in burn(self.accounts, [_debit(charge) for charge in charges], now).rows:
            self.rows.append(
                (row.wallet_id, row.usage_event_id, row.credits, row.balance_before, row.wallet_seq)
            )
            self.times.setdefault(row.wallet_id, []).append(row.created_at)


def _debit(charge: Charge) -> Debit:
    event = charge.entry["event"]
    wallet = WALLETS[charge.entry["offset"] % len(WALLETS)]
    return Debit(wallet, event["customer_id"], event["event_id"], charge.entry["credits"])


def rated(log: list[list[int]], first: int, following: int) -> RatedBatch:
    """The batch that any streams worker would emit for [first, following)."""
    return batch(
        first,
        following,
        [
            charged(offset, index, event_id=event_id(100 * offset + index), credits_=credits_)
            for offset in range(first, following)
            for index, credits_ in enumerate(log[offset])
        ],
    )


@settings(deadline=None)
@given(log=logs, cuts=cuts, together=st.integers(1, 5), clock=st.lists(st.integers(0, 50)))
def test_any_batching_gives_the_same_ledger(
    log: list[list[int]], cuts: list[tuple[int, int]], together: int, clock: list[int]
) -> None:
    """Overlapping, repeated and early batches in any order: the rows of one straight pass."""
    straight = LedgerModel()
    straight.apply([rated(log, 0, OFFSETS)], now=0)

    batches = [rated(log, a, max(a + 1, b)) for a, b in cuts]
    # Streams emit until all is covered; what was passed over comes again.
    batches += [rated(log, offset, offset + 1) for offset in range(OFFSETS)]
    zigzag = LedgerModel()
    for turn, start in enumerate(range(0, len(batches), together)):
        now = clock[turn % len(clock)] if clock else 0
        zigzag.apply(batches[start : start + together], now)

    assert zigzag.rows == straight.rows
    assert zigzag.reached.next_offset == OFFSETS
    assert zigzag.accounts["a"].balance == straight.accounts["a"].balance
    assert all(
        before < after for times in zigzag.times.values() for before, after in pairwise(times)
    )


@settings(deadline=None)
@given(log=logs, cuts=cuts)
def test_what_is_applied_neither_overlaps_nor_leaves_a_hole(
    log: list[list[int]], cuts: list[tuple[int, int]]
) -> None:
    """The ranges that would be RatedBatch rows lie end to end from 0 on."""
    model = LedgerModel()
    for a, b in cuts:
        model.apply([rated(log, a, max(a + 1, b))], now=0)
    ends = [0, *(following for _, following in model.covered)]
    assert [first for first, _ in model.covered] == ends[:-1]
    assert ends[-1] == model.reached.next_offset


@settings(deadline=None)
@given(
    balance=st.integers(-(2**63), 2**63 - 1),
    credits_=st.lists(st.integers(1, 2**63 - 1), max_size=20),
    now=st.integers(-(2**60), 2**60),
)
def test_a_chain_sums_to_the_change_of_its_balance(
    balance: int, credits_: list[int], now: int
) -> None:
    """Also next to what a balance can hold: what does not fit is refused, the rest adds up."""
    accounts = {"a": Account(balance, 0, None)}
    burns = burn(accounts, [Debit("a", "c", "e", one) for one in credits_], now)

    assert balance - sum(row.credits for row in burns.rows) == accounts["a"].balance
    assert accounts["a"].balance >= -(2**63)
    assert len(burns.rows) + len(burns.refused) == len(credits_)
    expected = balance
    for number, row in enumerate(burns.rows, start=1):
        assert (row.balance_before, row.wallet_seq) == (expected, number)
        expected -= row.credits

"""Events and corrections in any order, each any number of times: the ledger that they come to."""

from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from sinks.reversals import Entry, Outcome, Voided, outcome, reverse
from sinks.wallets import Account

IDS = "abcd"
CREDITS = dict(zip(IDS, (1, 10, 100, 1_000), strict=True))
WALLET = "w"


class Record(NamedTuple):
    """A usage event (`event` alone), a void (`void` alone), or a replacement (both)."""

    void: str | None
    event: str | None


records = st.one_of(
    st.builds(Record, st.none(), st.sampled_from(IDS)),
    st.builds(Record, st.sampled_from(IDS), st.none()),
    st.tuples(st.sampled_from(IDS), st.sampled_from(IDS))
    .filter(lambda ids: ids[0] != ids[1])
    .map(lambda ids: Record(*ids)),
)
histories = st.lists(records, max_size=12)


@dataclass
class LedgerModel:
    """What the sink's transactions make of the records, with Postgres left out."""

    account: Account = field(default_factory=lambda: Account(0, 0, None))
    entries: dict[str, list[Entry]] = field(default_factory=dict)  # by event charged
    booked_for: dict[str, str | None] = field(default_factory=dict)  # whose place each took
    voided: dict[str, Voided] = field(default_factory=dict)
    letters: list[tuple[Record, Outcome]] = field(default_factory=list)

    def apply(self, record: Record) -> None:
        """Decide one record, as a savepoint of a transaction would."""
        if record.void is None:
            self._charge(record.event, None)
            return
        found = outcome(
            is_charged=record.void in self.entries,
            voided=self.voided.get(record.void),
            replacement=record.event,
            is_replacement_charged=record.event in self.entries,
        )
        if found is Outcome.APPLIED:
            burns = self.entries[record.void]
            for row in reverse({WALLET: self.account}, burns, now=0):
                burns.append(Entry(f"refund-{record.void}", WALLET, row.amount))
            self.voided[record.void] = Voided(record.event)
            self._charge(record.event, record.void)
        elif found is not Outcome.REPEATED:
            self.letters.append((record, found))

    def replay_letters(self) -> None:
        """Replay what replays itself, until that changes nothing."""
        waiting = -1
        while waiting != len(self._waiting()):
            again = self._waiting()
            waiting = len(again)
            self.letters = [one for one in self.letters if one[0] not in again]
            for record in again:
                self.apply(record)

    def _waiting(self) -> list[Record]:
        return [one for one, why in self.letters if why is Outcome.ORIGINAL_NOT_CHARGED]

    def _charge(self, event: str | None, place_of: str | None) -> None:
        if event is None or event in self.entries:
            return
        self.booked_for[event] = place_of
        self.account.balance -= CREDITS[event]
        self.account.last_seq += 1
        self.entries[event] = [Entry(f"burn-{event}", WALLET, -CREDITS[event])]


def play(history: list[Record]) -> LedgerModel:
    ledger = LedgerModel()
    for record in history:
        ledger.apply(record)
    ledger.replay_letters()
    return ledger


@given(histories)
def test_a_balance_lacks_what_is_charged_and_not_voided(history: list[Record]) -> None:
    """Each event is charged once at most and given back once at most, whatever came twice."""
    ledger = play(history)

    kept = ledger.entries.keys() - ledger.voided.keys()
    assert ledger.account.balance == -sum(CREDITS[event] for event in kept)
    for event, entries in ledger.entries.items():
        assert len(entries) == (2 if event in ledger.voided else 1)
        assert sum(one.amount for one in entries) == (-CREDITS[event] if event in kept else 0)


@given(histories)
def test_nothing_is_lost_silently(history: list[Record]) -> None:
    """What a record asks for is done, or the record is a letter that says why it is not."""
    ledger = play(history)
    letters = {record for record, _ in ledger.letters}

    for record in set(history) - letters:
        assert record.void is None or record.void in ledger.voided
        assert record.event is None or record.event in ledger.entries
    for record, why in ledger.letters:
        assert (record.void not in ledger.entries) == (why is Outcome.ORIGINAL_NOT_CHARGED)


@given(histories)
def test_a_refund_for_a_replacement_comes_with_its_charge(history: list[Record]) -> None:
    """One without the other would give credits away: an event charged before takes no place."""
    ledger = play(history)
    replaced = {event: one.replaced_by for event, one in ledger.voided.items() if one.replaced_by}

    assert {by: event for event, by in replaced.items()} == {
        event: place_of for event, place_of in ledger.booked_for.items() if place_of
    }


@given(histories)
def test_what_was_applied_once_may_come_again(history: list[Record]) -> None:
    """The whole log a second time adds letters at most, no row and no credit."""
    ledger = play(history)
    entries = {event: list(rows) for event, rows in ledger.entries.items()}
    balance, voided = ledger.account.balance, dict(ledger.voided)

    for record in history:
        ledger.apply(record)
    ledger.replay_letters()

    assert (ledger.entries, ledger.account.balance, ledger.voided) == (entries, balance, voided)


@given(st.permutations([*map(Record, [None] * 4, IDS), *map(Record, IDS[:2], [None] * 2)]))
def test_voids_come_to_the_same_in_any_order(history: list[Record]) -> None:
    """Through whatever partitions they came, and before or behind their originals."""
    ledger = play(history)

    assert ledger.voided.keys() == set(IDS[:2])
    assert ledger.account.balance == -sum(CREDITS[event] for event in IDS[2:])
    assert ledger.letters == []

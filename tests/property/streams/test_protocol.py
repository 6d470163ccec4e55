"""Random histories of the stream stage: runs cut anywhere, crashes, zombies, changing prices."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.pricing import PriceBook
from schemas.rated import Cover, Entry, Fold, Kind
from streams.decode import DecodedRecord
from streams.dedupe import judge
from streams.price import settle
from streams.rated_fold import RatedFold
from streams.seen import SeenPartition
from tests.seen_lookup import find_each
from tests.unit.streams.raw_records import HOUR_MS, NOW_MS, decoded, event, price_book, raw

WINDOW_MS = 3 * HOUR_MS
PRICED = price_book()
UNPRICED = PriceBook(0)

_events = st.tuples(st.integers(1, 4), st.sampled_from(["", "K", "L"]))
_records = st.tuples(
    st.lists(_events, max_size=3),
    st.integers(0, 2),  # hours since the record before
    st.booleans(),  # an offset without a record before it
)


def log_of(drawn: list[Any]) -> list[DecodedRecord]:
    """Return the records of a partition: some events, some time apart, some offsets empty."""
    offset, ms, found = 0, NOW_MS, []
    for events, hours, is_gap in drawn:
        ms += hours * HOUR_MS + 1
        offset += 1 if is_gap else 0
        own = [event(number, idempotency_key=key) for number, key in events]
        found.extend(decoded(raw(offset, *own, ms=ms)))
        offset += 1
    return found


@dataclass
class RatedLog:
    """The partition of `usage.rated`."""

    batches: list[tuple[Fold, list[Entry]]] = field(default_factory=list)

    def accepted(self) -> list[Entry]:
        """Return the entries that the sink applies."""
        rule, entries = RatedFold(0), list[Entry]()
        for fold, batch in self.batches:
            below = rule.next_offset
            if rule.apply(fold.kind, fold.first_offset, fold.next_offset) is Cover.NEXT:
                entries += [entry for entry in batch if entry["offset"] >= below]
        return entries


class Worker:
    """A worker with the pure parts of the stage; its state is what it folded."""

    def __init__(self, raw_log: list[DecodedRecord], rated: RatedLog) -> None:
        self._raw, self._rated = raw_log, rated
        self.crash()

    def crash(self) -> None:
        """Lose the memory and fold the log."""
        self.seen = SeenPartition(WINDOW_MS)
        self.seen.fold.start_at(0)
        self._catch_up()

    def _catch_up(self) -> None:
        for offset in range(self.seen.rated_offset, len(self._rated.batches)):
            self.seen.apply(self._rated.batches[offset][0], offset)

    def step(self, size: int, book: PriceBook, *, is_crashing: bool) -> None:
        """Rate the next records; a crash comes between the send and the memory of it."""
        position = self.seen.fold.next_offset
        records = [record for record in self._raw if record.offset >= position][:size]
        if not records:
            return
        verdicts = settle(records, judge(records, self.seen), book, WINDOW_MS)
        fold = Fold(
            Kind.RATED,
            position,
            records[-1].offset + 1,
            [(record.offset, record.broker_ms) for record in records],
            verdicts.positions,
            b"".join(verdicts.identities),
        )
        self._rated.batches.append((fold, verdicts.entries))
        if is_crashing:
            self.crash()
        elif self.seen.rated_offset == len(self._rated.batches) - 1:
            self.seen.apply(fold, self.seen.rated_offset)
        else:
            self._catch_up()


def model(records: list[DecodedRecord]) -> list[tuple[int, int, bool]]:
    """Say, in the plainest way, which events are charged when everything has its price."""
    charged: list[tuple[set[tuple[str, str]], int]] = []
    verdicts = []
    for record in records:
        for index, one in enumerate(record.events):
            assert isinstance(one, dict)
            own = {("id", one["event_id"])}
            if "idempotency_key" in one:
                own.add(("key", one["idempotency_key"]))
            is_known = any(
                own & theirs and record.broker_ms - ms <= WINDOW_MS for theirs, ms in charged
            )
            if not is_known:
                charged.append((own, record.broker_ms))
            verdicts.append((record.offset, index, not is_known))
    return verdicts


_steps = st.lists(
    st.tuples(st.integers(0, 1), st.integers(1, 5), st.booleans(), st.booleans()), max_size=30
)


@settings(deadline=None)
@given(drawn=st.lists(_records, max_size=25), steps=_steps)
def test_verdicts_depend_on_nothing_but_the_log(drawn: list[Any], steps: list[Any]) -> None:
    """However runs are cut, workers crash and zombies write, the verdicts are the model's."""
    records, rated = log_of(drawn), RatedLog()
    workers = [Worker(records, rated), Worker(records, rated)]
    for which, size, is_crashing, _ in steps:
        workers[which].step(size, PRICED, is_crashing=is_crashing)
    for worker in workers:
        for _ in records:
            worker.step(3, PRICED, is_crashing=False)
    found = [(e["offset"], e["index"], e["verdict"] == "charged") for e in rated.accepted()]
    assert found == model(records)


@settings(deadline=None)
@given(drawn=st.lists(_records, max_size=25), steps=_steps)
def test_whoever_is_called_a_duplicate_was_charged(drawn: list[Any], steps: list[Any]) -> None:
    """With prices that come and go and crashes, a duplicate repeats an event that was charged."""
    records, rated = log_of(drawn), RatedLog()
    worker = Worker(records, rated)
    for _, size, is_crashing, is_priced in steps:
        worker.step(size, PRICED if is_priced else UNPRICED, is_crashing=is_crashing)
    accepted = rated.accepted()
    charged = {(e["offset"], e["index"]) for e in accepted if e["verdict"] == "charged"}
    for entry in accepted:
        if entry["verdict"] == "duplicate":
            assert (entry["of_offset"], entry["of_index"]) in charged


@settings(deadline=None)
@given(drawn=st.lists(_records, max_size=40), cut=st.integers(0, 40))
def test_a_fold_from_the_middle_knows_what_one_from_the_beginning_knows(
    drawn: list[Any], cut: int
) -> None:
    """Beginning a window before the end loses no verdict, and pruning changes none."""
    records, rated = log_of(drawn), RatedLog()
    worker = Worker(records, rated)
    for _ in records:
        worker.step(1 + cut % 3, PRICED, is_crashing=False)
    if not rated.batches:
        return
    last_ms = rated.batches[-1][0].broker_times[-1][1]
    late = SeenPartition(WINDOW_MS)
    for offset, (fold, _) in enumerate(rated.batches):
        # Rated records carry the broker's time of their writing: not before their raw records'.
        written_ms = fold.broker_times[-1][1]
        if written_ms >= last_ms - WINDOW_MS:
            late.fold.settle()
        if written_ms >= last_ms - WINDOW_MS - HOUR_MS:
            late.apply(fold, offset)
    assert late.fold.next_offset == worker.seen.fold.next_offset
    for record in records:
        for identities in judge([record], worker.seen).identities:
            for later_ms in (last_ms, last_ms + HOUR_MS):
                own, times = b"".join(identities), [later_ms] * len(identities)
                assert find_each(late, own, times) == find_each(worker.seen, own, times)

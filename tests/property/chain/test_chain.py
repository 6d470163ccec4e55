"""Laws of the pure chain: decode -> dedupe -> price -> batch -> fold -> clip -> wallets.

Events here share identities in any way at all, so what comes first matters; the references below
are the rules in as few lines as they can be said.
"""

import random
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from schemas.dead_letter import Position, Reason, replay_headers
from schemas.rated import (
    Fold,
    Kind,
    decode_batch,
    pack_fold,
    pack_position,
    unpack_fold,
    unpack_position,
)
from streams.decode import DecodedRecord, decode_record, parts
from streams.dedupe import judge
from streams.price import settle
from streams.seen import SeenPartition, fold_of
from tests.property.chain.model import LATE, RATES, START_MS, STEADY
from tests.property.chain.workers import (
    WINDOW_MS,
    CrashedError,
    Rules,
    Sink,
    StreamsWorker,
    run_length,
)
from tests.property.chain.world import PARTITIONS, POLICY, RawRecord, World
from tests.seen_lookup import find_each

MINUTE_MS = 60_000
# A broker's clock may step back a little; the longest gap is just longer than the window.
GAPS_MS = (0, 1, MINUTE_MS, -10 * MINUTE_MS, WINDOW_MS // 2, WINDOW_MS, WINDOW_MS + 1)


def make_event(number: int, key: str | None, customer_id: str, model: str, *, is_bad: bool) -> Any:
    event = {
        "event_id": f"{number:08x}-0000-4000-8000-000000000000",
        "customer_id": customer_id,
        "event_type": "TOKEN_USAGE",
        "feature_id": "chain",
        "provider": "OPENAI",
        "model": model,
        "input_tokens": 1,
        "timestamp": "not a time" if is_bad else "2025-01-17T14:30:00Z",
        "metadata": {"usage": f"{customer_id} {number} {key}"},
    }
    return event if key is None else {**event, "idempotency_key": key}


EVENTS = st.builds(
    make_event,
    st.integers(1, 4),
    st.sampled_from((None, None, "k1", "k2", "k3")),
    st.sampled_from(("acme", "acme", "bert", "nobody")),
    st.sampled_from((STEADY, STEADY, STEADY, LATE)),
    is_bad=st.sampled_from((False,) * 9 + (True,)),
)
RECORDS = st.lists(
    st.tuples(
        st.sampled_from(GAPS_MS),
        st.lists(EVENTS, max_size=3),
        st.sampled_from((False,) * 7 + (True,)),
    ),
    min_size=1,
    max_size=12,
)


def decoded_log(drawn: Sequence[tuple[int, list[Any], bool]]) -> list[DecodedRecord]:
    """Return records as decoded, with times that go on by the gaps drawn."""
    ms, records = START_MS, []
    for offset, (gap, events, is_replay) in enumerate(drawn):
        ms += gap
        headers = replay_headers(Position(0, 0, 0, 0)) if is_replay else ()
        value = orjson.dumps({"events": events})
        records.append(decode_record(RawRecord(offset, ms, None, value, headers), ms, POLICY))
    return records


def expected_verdicts(drawn: Sequence[tuple[int, list[Any], bool]]) -> list[str]:
    """Return the verdicts in order: the rules of identity, window, replay and price, once more."""
    charged: dict[tuple[str, str, str], int] = {}
    ms, verdicts = START_MS, []
    for gap, events, is_replay in drawn:
        ms += gap
        for event in events:
            own = [(event["customer_id"], "id", event["event_id"])]
            if "idempotency_key" in event:
                own.append((event["customer_id"], "key", event["idempotency_key"]))
            times = [charged[one] for one in own if one in charged and not is_replay]
            if event["timestamp"] == "not a time":
                verdicts.append("dead-letter")
            elif any(abs(ms - then) <= WINDOW_MS for then in times):
                verdicts.append("duplicate")
            elif event["model"] == LATE:
                verdicts.append("dead-letter")
            else:
                verdicts.append("charged")
                charged |= {} if is_replay else dict.fromkeys(own, ms)
    return verdicts


def rated_entries(
    records: Sequence[DecodedRecord], world: World, rng: random.Random
) -> Iterator[Any]:
    """Rate a log with runs, batches and restarts as `rng` wants them; yield the entries."""
    seen, headers, at = SeenPartition(WINDOW_MS), list[bytes](), 0
    seen.fold.start_at(0)
    while at < len(records):
        run = records[at : at + rng.randint(1, 6)]
        at += len(run)
        for part in parts(run, rng.randint(1, 6), 1_000_000):
            verdicts = settle(part, judge(part, seen), world.book, WINDOW_MS)
            yield from verdicts.entries
            first, following = seen.fold.next_offset, part[-1].offset + 1
            fold = Fold(
                Kind.RATED,
                first,
                following,
                run_length(part),
                array("q", verdicts.positions),
                b"".join(verdicts.identities),
            )
            headers.append(pack_fold(fold))
            seen.apply(unpack_fold(headers[-1]), len(headers) - 1)
            if rng.random() < 0.3:
                seen = SeenPartition(WINDOW_MS)
                seen.fold.start_at(0)
                for offset, header in enumerate(headers):
                    seen.apply(unpack_fold(header), offset)


@settings(max_examples=300, deadline=None)
@given(RECORDS)
def test_verdicts_follow_the_rules_of_identity_window_replay_and_price(
    drawn: list[tuple[int, list[Any], bool]],
) -> None:
    """One record at a time, against the rules said again in a dozen lines."""
    found = [
        entry["verdict"] for entry in rated_entries(decoded_log(drawn), World(), random.Random(0))
    ]

    assert found == expected_verdicts(drawn)


@settings(max_examples=300, deadline=None)
@given(RECORDS, st.randoms(use_true_random=False), st.randoms(use_true_random=False))
def test_the_same_log_and_prices_give_the_same_verdicts(
    drawn: list[tuple[int, list[Any], bool]], one: random.Random, other: random.Random
) -> None:
    """Whatever the runs, the batches and the restarts, entry for entry.

    What a duplicate is of may differ where the clock stepped back behind the window: the same
    identity was charged twice then, and both are within reach.
    """
    records, world = decoded_log(drawn), World()
    found, again = (list(rated_entries(records, world, rng)) for rng in (one, other))

    if any(gap < 0 for gap, _, _ in drawn):
        for entry in found + again:
            entry.pop("of_offset", None)
            entry.pop("of_index", None)
    assert found == again


class Chain(RuleBasedStateMachine):
    """Three streams workers and two sinks on the same partitions, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.rng = random.Random(0)
        self.workers = [self._worker() for _ in range(3)]
        self.sinks = [Sink(self.world, Rules()) for _ in range(2)]

    def _worker(self) -> StreamsWorker:
        return StreamsWorker(self.world, Rules(), PARTITIONS, self.rng)

    @rule(
        partition=st.sampled_from(PARTITIONS),
        gap=st.sampled_from(GAPS_MS),
        events=st.lists(EVENTS, min_size=1, max_size=3),
    )
    def produce(self, partition: int, gap: int, events: list[Any]) -> None:
        self.world.ms += gap
        self.world.produce(partition, orjson.dumps({"events": events}), len(events))

    @rule(
        number=st.integers(0, 2),
        partition=st.sampled_from(PARTITIONS),
        crash_at=st.sampled_from((None, None, 0, 1, 3)),
    )
    def rate(self, number: int, partition: int, crash_at: int | None) -> None:
        try:
            self.workers[number].run(partition, crash_at=crash_at)
        except CrashedError as crash:
            self.workers[number] = self._worker()
            if crash.in_flight is not None:  # it lands all the same, after the next one began
                self.world.append_rated(crash.in_flight.batch, crash.in_flight.fold)

    @rule(number=st.integers(0, 2))
    def hear_of_prices(self, number: int) -> None:
        self.workers[number].book = self.world.book

    @rule(model=st.sampled_from((STEADY, LATE)), rate=st.sampled_from((None, *RATES)))
    def change_price(self, model: str, rate: int | None) -> None:
        self.world.set_rate(model, rate)

    @rule(number=st.integers(0, 1), partition=st.sampled_from(PARTITIONS), count=st.integers(1, 4))
    def sink(self, number: int, partition: int, count: int) -> None:
        self.sinks[number].transact((partition,), count)

    @precondition(lambda self: self.world.ledger.letters)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        at = data.draw(st.sampled_from(sorted(self.world.ledger.letters, key=str)))
        payload = self.world.ledger.letters[at].payload
        self.world.produce(at.partition, payload, 1, headers=replay_headers(at))

    @invariant()
    def ledger_holds_what_covered_a_position_first(self) -> None:
        """Fold the log by the rule said again, and find each verdict in the ledger, and no more."""
        ledger, held = self.world.ledger, 0
        for partition in PARTITIONS:
            position, until = 0, ledger.reached[partition].next_offset
            for record in self.world.rated[partition]:
                batch = decode_batch(record.value)
                for entry in batch.events if batch.first_offset <= position else ():
                    if position <= entry["offset"] < until:
                        held += 1
                        self._must_hold(partition, entry)
                if batch.first_offset <= position:
                    position = max(position, batch.next_offset)
        assert held == len(ledger.rows) + len(ledger.duplicates) + len(ledger.letters)
        assert not ledger.breaches

    def _must_hold(self, partition: int, entry: Any) -> None:
        ledger = self.world.ledger
        at = Position(partition, 0, entry["offset"], entry["index"])
        if entry["verdict"] == "charged":
            if at in ledger.rows:
                assert ledger.rows[at].credits == entry["credits"]
            elif at in ledger.letters:
                assert entry["event"]["customer_id"] not in ledger.customers
            else:
                assert any(identity in ledger.charged for identity in ledger.duplicates[at])
        elif at in ledger.duplicates:
            assert entry["verdict"] == "duplicate"
            assert any(identity in ledger.charged for identity in ledger.duplicates[at])
        elif entry["verdict"] == "duplicate":
            assert ledger.letters[at].reason == Reason.ORIGINAL_NOT_CHARGED
        else:
            assert ledger.letters[at].reason == entry["reason"]

    @invariant()
    def wallets_chain_and_sum_up_to_the_rows(self) -> None:
        """Each wallet's rows follow one another, and all of them are what was charged."""
        ledger = self.world.ledger
        for wallet, account in ledger.accounts.items():
            own = [row for row in ledger.transactions if row.wallet_id == wallet]
            assert [row.wallet_seq for row in own] == list(range(1, len(own) + 1))
            balances = [row.balance_before for row in own] + [account.balance]
            assert [a - b for a, b in pairwise(balances)] == [row.credits for row in own]
            assert all(a.created_at < b.created_at for a, b in pairwise(own))
        total = sum(row.credits for row in ledger.rows.values())
        assert total == sum(row.credits for row in ledger.transactions)

    @invariant()
    def seen_remembers_what_was_charged_and_nothing_else(self) -> None:
        """Within the window, whoever wrote what below the position, late or with other prices."""
        for partition in PARTITIONS:
            state, log = SeenPartition(WINDOW_MS), self.world.rated[partition]
            state.fold.start_at(0)
            charged: dict[bytes, int] = {}
            for offset, record in enumerate(log):
                position, fold = state.fold.next_offset, fold_of(record.headers)
                if fold.first_offset <= position:
                    charged |= {
                        fold.identity(number): at
                        for number, at in enumerate(fold.positions)
                        if at >= pack_position(position, 0)
                    }
                state.apply(fold, offset)
            times = {
                record.offset: record.timestamp for record in self.world.raw[partition].records
            }
            assert {one: state.get(one) for one in state.identities()}.items() <= charged.items()
            for identity, at in charged.items():
                ms = times[unpack_position(at)[0]]
                if ms >= state.clock.latest_ms - WINDOW_MS:
                    assert find_each(state, identity, [ms]) == [at]
                    assert state.clock.at(unpack_position(at)[0]) == ms

    def teardown(self) -> None:
        """Everything that was sent comes to have its verdict, whoever finishes the work."""
        for partition in PARTITIONS:
            while self.world.raw[partition].read(self.workers[0].position(partition), 1):
                self.workers[0].run(partition)
        while self.sinks[0].transact(PARTITIONS, 3):
            pass
        self.ledger_holds_what_covered_a_position_first()
        ledger = self.world.ledger
        verdicts = len(ledger.rows) + len(ledger.duplicates) + len(ledger.letters)
        assert verdicts == sum(self.world.places.values())


Chain.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestChain = Chain.TestCase

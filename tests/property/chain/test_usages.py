"""A state machine over the pure chain against the crash tests' model, by their own checker.

Anything in any order: usages in all their forms, workers with what they remember and the prices
that they have heard of, runs and batches of any size, reading from anywhere, writers that die and
whose batch lands late, sinks that read again, a window that ends, letters replayed by two at once,
a ledger that is restored. Hypothesis looks for the shortest history that breaks the claim; the
explorer beside it goes on to disasters.

EXPLORER_HISTORIES and EXPLORER_FIRST_SEED rule this one, too.
"""

import os
import random
from dataclasses import replace

import pytest
from hypothesis import Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.property.chain import broken_rules as broken
from tests.property.chain.broken_rules import BrokenRules
from tests.property.chain.ending import let_everything_come
from tests.property.chain.model import LATE, RATES, STEADY, Form, Forms, record_value
from tests.property.chain.test_chain import GAPS_MS
from tests.property.chain.verdict import faults, standing_faults
from tests.property.chain.workers import CrashedError, Decided, Rules, Sink, StreamsWorker, replay
from tests.property.chain.world import PARTITIONS, Ledger, World

HISTORIES = int(os.environ.get("EXPLORER_HISTORIES", "1000"))
FIRST_SEED = int(os.environ.get("EXPLORER_FIRST_SEED", "0"))
EXAMPLES = HISTORIES // 5
EXAMPLES_OF_A_CONTROL_MAX = 500
# Those that need a disaster besides are left to the explorer.
FOUND_SOON = (
    broken.DoesNotClip,
    broken.DoesNotLookAtTheLog,
    broken.IdentitiesOfAllCustomers,
    broken.IdentitiesOfOneKind,
    broken.NoUniqueIdentities,
    broken.RemembersAnyVerdict,
    broken.RemembersBeforeWriting,
    broken.SinkBelievesDuplicates,
    broken.WritesLettersApart,
)
WORKERS = 3
SINKS = 2

worker_numbers = st.integers(0, WORKERS - 1)
sink_numbers = st.integers(0, SINKS - 1)
partitions = st.sampled_from(PARTITIONS)
backwards = st.integers(0, 11)  # which of the newest


class Usages(RuleBasedStateMachine):
    """Three streams workers and two sinks, all on the same partitions, none of them the owner."""

    protocol = Rules()

    def __init__(self) -> None:
        super().__init__()
        self.rng = random.Random(0)  # what is left to chance beside the rules below
        self.world = World()
        self.forms = Forms(self.rng)
        self.workers = [self._worker() for _ in range(WORKERS)]
        self.sinks = [Sink(self.world, self.protocol) for _ in range(SINKS)]
        self.in_flight: list[Decided] = []
        self.backup: Ledger | None = None

    def _worker(self) -> StreamsWorker:
        return StreamsWorker(self.world, self.protocol, PARTITIONS, self.rng)

    # Producers --------------------------------------------------------------------------------

    @rule(
        customer_id=st.sampled_from(("acme", "bert", "cleo")),
        tokens=st.sampled_from((1, 2, 0)),
        route=st.sampled_from(("exact", "by-id", "by-key")),
        model=st.sampled_from((STEADY, STEADY, LATE)),
        has_key=st.booleans(),
        has_team=st.booleans(),
        is_hopeless=st.sampled_from((False,) * 7 + (True,)),
        partition=partitions,
        copies=st.integers(1, 3),
    )
    def use(
        self,
        customer_id: str,
        tokens: int,
        route: str,
        model: str,
        *,
        has_key: bool,
        has_team: bool,
        is_hopeless: bool,
        partition: int,
        copies: int,
    ) -> None:
        """Send a usage for the first time, in several forms of it at once perhaps."""
        form = self.forms.make(
            customer_id,
            tokens=tokens,
            route="exact" if is_hopeless else route,
            model=model,
            has_key=has_key,
            has_team=has_team,
        )
        if is_hopeless:
            form = self.forms.made[-1] = _hopeless(self.forms.spoilt(form))
        self._send(partition, [form, *(self.forms.again(form) for _ in range(copies - 1))])

    @precondition(lambda self: self.forms.made)
    @rule(number=backwards, other=backwards, partition=partitions, is_pair=st.booleans())
    def send_again(self, number: int, other: int, partition: int, *, is_pair: bool) -> None:
        """Send usages again, in this form or another, by this partition or another."""
        made = self.forms.made
        chosen = [made[-1 - number % len(made)], made[-1 - other % len(made)]]
        self._send(partition, [self.forms.again(form) for form in chosen[: 1 + is_pair]])

    def _send(self, partition: int, forms: list[Form]) -> None:
        self.world.produce(partition, record_value(forms, is_single=True), len(forms))
        self.world.model.acknowledged(form.usage for form in forms)

    @rule(gap=st.sampled_from(GAPS_MS), marker_in=st.sampled_from((None, *PARTITIONS)))
    def let_time_pass(self, gap: int, marker_in: int | None) -> None:
        """By the brokers' clock: a little back even, or beyond the window. A transaction ends."""
        self.world.ms += gap
        if marker_in is not None:
            self.world.raw[marker_in].end += 1

    # Streams ----------------------------------------------------------------------------------

    @rule(
        number=worker_numbers,
        partition=partitions,
        records=st.integers(1, 6),
        events_max=st.integers(1, 6),
        crash_at=st.sampled_from((None, None, None, 0, 1, 2, 3)),
    )
    def rate(
        self, number: int, partition: int, records: int, events_max: int, crash_at: int | None
    ) -> None:
        """Read a run and rate it in batches; die between the decision, the write and the memory."""
        try:
            self.workers[number].run(
                partition, crash_at=crash_at, records_max=records, events_max=events_max
            )
        except CrashedError as crash:
            self.workers[number] = self._worker()
            if crash.in_flight is not None:
                self.in_flight.append(crash.in_flight)

    @rule(number=worker_numbers, partition=partitions, by=st.sampled_from((None, *range(-6, 4))))
    def read_from_elsewhere(self, number: int, partition: int, by: int | None) -> None:
        """A fetch is dropped, or offsets are set back; None: the worker ends, and one begins."""
        if by is None:
            self.workers[number] = self._worker()
            return
        cursors = self.workers[number].cursors
        cursors[partition] = max(0, cursors[partition] + by)

    @precondition(lambda self: self.in_flight)
    @rule(number=backwards)
    def land_late(self, number: int) -> None:
        """What a dead writer had sent arrives after all."""
        late = self.in_flight.pop(number % len(self.in_flight))
        self.world.append_rated(late.batch, late.fold)

    @rule(
        model=st.sampled_from((None, STEADY, LATE)),
        rate=st.sampled_from((None, *RATES)),
        listeners=st.sets(worker_numbers),
    )
    def change_price(self, model: str | None, rate: int | None, listeners: set[int]) -> None:
        """A price comes, goes or changes; some workers hear of those there are."""
        if model is not None:
            self.world.set_rate(model, rate)
        for number in listeners:
            self.workers[number].book = self.world.book

    # Sinks, operators -------------------------------------------------------------------------

    @rule(
        number=sink_numbers,
        chosen=st.sampled_from((PARTITIONS[:1], PARTITIONS[1:], PARTITIONS, PARTITIONS[::-1])),
        count=st.integers(1, 6),
        back=st.sampled_from((0, 0, 1, 2, 6)),
    )
    def apply(self, number: int, chosen: tuple[int, ...], count: int, back: int) -> None:
        """One transaction over batches of any number, some of them read again."""
        sink = self.sinks[number]
        for partition in chosen:
            sink.read_to[partition] = max(0, sink.read_to[partition] - back)
        sink.transact(chosen, count)

    @precondition(lambda self: self.world.ledger.letters)
    @rule(number=backwards, partition=partitions, crash=st.booleans())
    def replay_letter(self, number: int, partition: int, *, crash: bool) -> None:
        """Replay a letter, open or not, and die before it is marked perhaps."""
        letters = list(self.world.ledger.letters)
        at = letters[-1 - number % len(letters)]
        replay(self.world, self.protocol, at, partition, crash=crash)

    @rule(what=st.sampled_from(("customer", "sink", "backup", "restore")))
    def operate(self, what: str) -> None:
        """A customer is created, sinks start again, the ledger is kept or lost since it was."""
        if what == "customer":
            self.world.ledger.customers.add("cleo")
        elif what == "sink":
            self.sinks[0].resume()
        elif what == "backup" or self.backup is None:
            self.backup = self.world.ledger.snapshot()
        else:
            self.world.ledger, self.backup = self.backup, None

    # The claim --------------------------------------------------------------------------------

    @invariant()
    def nothing_is_doubled_or_worth_something_else(self) -> None:
        """At no time is there a row too many, a wrong amount, or a wallet that does not add up."""
        assert list(standing_faults(self.world)) == []

    def teardown(self) -> None:
        """Once everything has come the ledger is the model's."""
        owners = dict.fromkeys(PARTITIONS, self.workers[0])
        let_everything_come(
            self.world, self.protocol, owners, self.sinks[0], lambda at: at.partition
        )
        assert list(faults(self.world)) == []


def _hopeless(form: Form) -> Form:
    """Return a form of a usage that can never be charged: its letter stays open."""
    return replace(form, usage=replace(form.usage, credits=None))


def run(machine: type[Usages], examples: int, phases: tuple[Phase, ...]) -> None:
    run_state_machine_as_test(
        seed(FIRST_SEED)(machine),
        settings=settings(
            Usages.TestCase.settings,
            max_examples=examples,
            stateful_step_count=50,
            phases=phases,
            database=None,
        ),
    )


@pytest.mark.timeout(120 + EXAMPLES // 10)
def test_the_ledger_is_the_models_whatever_comes_in_whatever_order() -> None:
    """Hypothesis finds no history that loses, doubles or misprices anything."""
    run(Usages, EXAMPLES, (Phase.generate, Phase.shrink))


@pytest.mark.parametrize("rules", FOUND_SOON, ids=lambda rules: rules.__name__)
def test_the_machine_notices_a_rule_taken_away(rules: type[BrokenRules]) -> None:
    """What it finds nothing wrong with has been looked at."""
    machine = type(rules.__name__, (Usages,), {"protocol": rules()})

    with pytest.raises(AssertionError):
        run(machine, EXAMPLES_OF_A_CONTROL_MAX, (Phase.generate,))

"""Plays a random history of the protocol and tells what is wrong at its end.

Crashes between decision, write and acknowledgement; batches in flight that land late; zombies with
a stale `seen` and a stale price book; rebalances; reading that jumps; prices that come, go and
change; quarantined records; letters replayed twice; corrected events; a window that ends; restored
ledgers; rated batches lost by a broker; a raw log made anew. A history is its seed.
"""

import random
from array import array
from collections import Counter
from collections.abc import Callable

import orjson

from schemas.dead_letter import Position
from schemas.rated import Fold, Kind, RatedBatch
from sinks.batch import LogMadeAgainError
from streams.errors import LogsDisagreeError
from streams.seen import fold_of
from tests.property.chain.ending import let_everything_come
from tests.property.chain.model import (
    LATE,
    RATES,
    STEADY,
    Form,
    Forms,
    record_value,
)
from tests.property.chain.verdict import faults
from tests.property.chain.workers import CrashedError, Decided, Rules, Sink, StreamsWorker, replay
from tests.property.chain.world import PARTITIONS, Ledger, RawLog, World

Step = Callable[[], None]


class History:
    """One history, to be played once."""

    def __init__(self, seed: int, rules: Rules) -> None:
        self.rng = random.Random(seed)
        self.rules = rules
        self.world = World()
        self.forms = Forms(self.rng)
        self.to_correct: list[Form] = []
        self.owners: dict[int, StreamsWorker] = {}
        self.zombies: list[StreamsWorker] = []
        self.in_flight: list[Decided] = []
        self.sinks = [Sink(self.world, rules), Sink(self.world, rules)]
        self.backup: Ledger | None = None
        self.has_lost_end: set[int] = set()
        self._rebalance()
        self.zombies.clear()
        self.steps: list[tuple[int, Step]] = [
            (34, self._produce),
            (6, self._produce_chained),
            (30, self._run),
            (12, self._sink),
            (6, self._replay_letter),
            (5, self._change_price),
            (5, self._hear_of_prices),
            (4, self._let_time_pass),
            (4, self._land_late),
            (4, self._run_zombie),
            (3, self._correct),
            (3, self._rebalance),
            (3, self._jump),
            (2, self._quarantine),
            (2, self._back_up_or_restore),
            (2, self._restart_sink),
            (1, self._create_customer),
            (1, self._lose_rated_end),
            (1, self._make_raw_log_again),
        ]

    def play(self) -> list[str]:
        """Play the history to its end and return its faults, none of which there should be."""
        weights = [weight for weight, _ in self.steps]
        choices = [step for _, step in self.steps]
        try:
            for step in self.rng.choices(choices, weights, k=self.rng.randint(15, 70)):
                step()
            self._finish()
        except (LogMadeAgainError, LogsDisagreeError) as error:
            return [f"stuck: {error}"]
        return list(faults(self.world))

    # Producers --------------------------------------------------------------------------------

    def _home(self, customer_id: str) -> int:
        # A producer with another partitioner comes by, too.
        return (
            int(customer_id != "acme") if self.rng.random() < 0.85 else self.rng.choice(PARTITIONS)
        )

    def _produce(self) -> None:
        self.world.ms += self.rng.randint(-1_000, 60_000)
        chance = self.rng.random()
        if chance < 0.03:
            self.world.produce(self.rng.choice(PARTITIONS), b'{"nope', 1)
        elif chance < 0.05:
            self.world.produce(self.rng.choice(PARTITIONS), b'{"events":[]}', 0)
        elif chance < 0.09:
            self.world.raw[self.rng.choice(PARTITIONS)].end += 1  # a transaction's marker
        else:
            self._send([self.forms.any() for _ in range(self.rng.choice((1, 1, 2, 3)))])

    def _produce_chained(self) -> None:
        """Send events whose ids and keys chain, to any partition."""
        if not self.rules.sends_chains:
            return
        events = [self.forms.chained() for _ in range(self.rng.choice((1, 2)))]
        value = orjson.dumps({"events": events})
        self.world.produce(self.rng.choice(PARTITIONS), value, len(events), key=b"dora")
        self.world.chained += events

    def _send(self, forms: list[Form]) -> None:
        customer_id = forms[0].customer_id
        value = record_value(forms, is_single=self.rng.random() < 0.5)
        key = customer_id.encode() if self.rng.random() < 0.8 else None
        self.world.produce(self._home(customer_id), value, len(forms), key=key)
        for form in forms:
            self._note(form)

    def _note(self, form: Form) -> None:
        if form.is_good:
            self.world.model.acknowledged([form.usage])
        else:
            self.to_correct.append(form)

    def _correct(self) -> None:
        if self.to_correct:
            bad = self.to_correct.pop(self.rng.randrange(len(self.to_correct)))
            good = next(form for form in self.forms.made if form.usage.name == bad.usage.name)
            self._send([good])
            self.world.met["event corrected"] += 1

    # Streams ----------------------------------------------------------------------------------

    def _worker(self, *partitions: int) -> StreamsWorker:
        worker = StreamsWorker(self.world, self.rules, partitions, self.rng)
        for partition in partitions:
            self.owners[partition] = worker
        return worker

    def _rebalance(self) -> None:
        """Give the partitions to new workers; the old ones may go on writing."""
        self.zombies += list({id(one): one for one in self.owners.values()}.values())
        if self.rng.random() < 0.5:
            self._worker(*PARTITIONS)
        else:
            for partition in PARTITIONS:
                self._worker(partition)

    def _run(self) -> None:
        partition = self.rng.choice(PARTITIONS)
        worker = self.owners[partition]
        crash_at = self.rng.choice((None, None, None, 0, 1, 2, 3))
        if self.rng.random() < 0.1:
            worker.cancel(partition)
            return
        try:
            worker.run(partition, crash_at=crash_at)
        except CrashedError as crash:
            self.world.met["batch lost with its writer"] += crash.in_flight is not None
            if crash.in_flight is not None and self.rng.random() < 0.3:
                self.in_flight.append(crash.in_flight)
            self._worker(*worker.partitions)

    def _run_zombie(self) -> None:
        if self.zombies:
            zombie = self.rng.choice(self.zombies)
            zombie.run(self.rng.choice(zombie.partitions))

    def _land_late(self) -> None:
        if self.in_flight:
            late = self.in_flight.pop(self.rng.randrange(len(self.in_flight)))
            self.world.append_rated(late.batch, late.fold)
            self.world.met["batch landed late"] += 1

    def _jump(self) -> None:
        """Faust drops a fetch."""
        partition = self.rng.choice(PARTITIONS)
        self.owners[partition].cursors[partition] += self.rng.randint(-2, 3)

    def _hear_of_prices(self) -> None:
        for worker in [*self.owners.values(), *self.zombies]:
            if self.rng.random() < 0.5:
                worker.book = self.world.book

    # Operators, time, disasters ---------------------------------------------------------------

    def _change_price(self) -> None:
        if self.rng.random() < 0.7:
            self.world.set_rate(LATE, self.rng.choice((None, *RATES)))
        else:
            self.world.set_rate(STEADY, self.rng.choice(RATES))

    def _let_time_pass(self) -> None:
        self.world.ms += self.rng.choice((600_000, 3_600_000, 4 * 3_600_000))

    def _create_customer(self) -> None:
        self.world.ledger.customers.add("cleo")

    def _quarantine(self) -> None:
        partition = self.rng.choice(PARTITIONS)
        log = self.world.raw[partition]
        if log.records:
            offset = self.rng.choice(log.records[-3:]).offset
            self.world.quarantined.add((partition, log.epoch, offset))

    def _replay_letter(self) -> None:
        """Replay an open letter, or one that was replayed before."""
        letters = self.world.ledger.letters
        if letters:
            at = self.rng.choice(list(letters))
            crash = self.rng.random() < 0.2
            replay(self.world, self.rules, at, self._home_of(at), crash=crash)

    def _home_of(self, at: Position) -> int:
        key = self.world.ledger.letters[at].key
        return at.partition if key is None else self._home(key.decode())

    def _sink(self) -> None:
        partitions = self.rng.choice(((0,), (1,), PARTITIONS))
        self.rng.choice(self.sinks).transact(partitions, self.rng.randint(1, 4))

    def _restart_sink(self) -> None:
        self.rng.choice(self.sinks).resume()

    def _back_up_or_restore(self) -> None:
        if self.backup is None or self.rng.random() < 0.5:
            self.backup = self.world.ledger.snapshot()
        else:
            self.world.ledger, self.backup = self.backup, None
            self.world.met["ledger restored"] += 1

    def _lose_rated_end(self) -> None:
        """A broker loses acknowledged batches that no sink has read, once. Its sessions end."""
        partition = self.rng.choice(PARTITIONS)
        if partition in self.has_lost_end:
            return
        log = self.world.rated[partition]
        keep = max(0, self.world.ledger.reached[partition].rated_offset, len(log) - 2)
        if any(fold_of(record.headers).kind is not Kind.RATED for record in log[keep:]):
            return
        self.has_lost_end |= {partition} if log[keep:] else set()
        del log[keep:]
        self.zombies.clear()
        self.in_flight.clear()
        for sink in self.sinks:
            sink.resume()

    def _make_raw_log_again(self) -> None:
        """An operator makes `usage.raw` anew when all of it is applied, and says so."""
        partition = self.rng.choice(PARTITIONS)
        log, reached = self.world.raw[partition], self.world.ledger.reached[partition]
        position = self.owners[partition].position(partition)
        if not log.records or log.records[-1].offset >= min(reached.next_offset, position):
            return
        self.world.raw[partition] = RawLog(log.epoch + 1)
        self.world.met["raw log made again"] += 1
        self.zombies.clear()
        self.in_flight.clear()
        fold = Fold(Kind.NEW_EPOCH, reached.next_offset, 0, [], array("q"), b"")
        batch = RatedBatch(
            partition, reached.next_offset, 0, 0, [], [], [], Kind.NEW_EPOCH, "made again", "me"
        )
        self.world.append_rated(batch, fold)
        self._worker(*self.owners[partition].partitions)

    # The end ----------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Let everything come that can: corrections and a last record each, then all the rest."""
        while self.to_correct:
            self._correct()
        for partition, customer_id in zip(PARTITIONS, ("acme", "bert"), strict=True):
            form = self.forms.new(customer_id)
            self.world.produce(partition, record_value([form], is_single=True), 1)
            self._note(form)
        while self.to_correct:
            self._correct()
        let_everything_come(self.world, self.rules, self.owners, self.sinks[0], self._home_of)
        for letter in self.world.ledger.letters.values():
            self.world.met[f"letter {letter.reason}"] += 1
        self.world.met["duplicate by Postgres"] += self.world.ledger.conflicts


# What the histories met, and the first seed that has faults, with them.
Played = tuple[Counter[str], tuple[int, list[str]] | None]


def played(seeds: range, rules: Rules | None = None) -> Played:
    """Play the histories of some seeds, up to the first that has faults."""
    met: Counter[str] = Counter()
    for seed in seeds:
        history = History(seed, rules or Rules())
        found = history.play()
        met += history.world.met
        if found:
            return met, (seed, found)
    return met, None

"""The processes of a history: streams workers, sinks, operators, over our own functions.

`Rules` is the protocol as it is, one method or flag per rule that can be taken away; the shells
around it (agents, consumers, SQL) are told again here in as few lines as they can be. See
`broken_rules.py` for what happens without each.
"""

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.dead_letter import Position, replay_headers
from schemas.pricing import PriceBook
from schemas.rated import Fold, Kind, RatedBatch
from sinks.batch import Clipped, RatedRecord, Reached, clip
from streams.decode import DecodedRecord, parts
from streams.dedupe import Judged, judge
from streams.price import Verdicts, settle
from streams.seen import SeenPartition
from streams.totals import count
from tests.property.chain.folding import Table, complete, recovery_of
from tests.property.chain.world import RawRecord, World
from tests.published_burns import BurnsPublished

WINDOW_MS = 2 * 3_600_000
BATCH_EVENTS_MAX = 3
BATCH_BYTES_MAX = 100_000


class Rules:
    """The protocol. A variant overrides one thing."""

    believes_commits = False  # streams go on from Kafka's committed offset
    remembers_before_writing = False
    looks_at_sent_offset = True
    letters_ride_in_batch = True
    is_unique = True
    verifies_duplicates = True
    sends_chains = True  # no rule: events whose identities chain are among those sent
    resumes_from_ledger = True
    passes_over_ahead = True
    marks_letters_before_replay = False

    def new_state(self, window_ms: int) -> SeenPartition:
        """Return the `seen` of a partition."""
        return SeenPartition(window_ms)

    def judge(self, records: Sequence[DecodedRecord], seen: SeenPartition) -> Judged:
        """Return what `seen` says of each event."""
        return judge(records, seen)

    def remembered(
        self,
        records: Sequence[DecodedRecord],
        judged: Judged,
        verdicts: Verdicts,
    ) -> tuple["array[int]", list[bytes]]:
        """Return the identities that enter `seen`, with their positions."""
        del records, judged
        return verdicts.positions, verdicts.identities

    def admits(self, position: int, records: Sequence[RawRecord], first_in_log: int) -> bool:
        """Tell whether a run may be processed at a position (else: read again from there)."""
        first = records[0].offset
        return first == position or (first > position and first_in_log == first)

    def clip(self, reached: Reached, records: Sequence[RatedRecord]) -> Clipped:
        """Keep of rated records what the ledger lacks."""
        return clip(reached, records)


@dataclass(frozen=True, slots=True)
class Decided:
    """A rated batch that is ready to be written."""

    batch: RatedBatch
    fold: Fold


class CrashedError(Exception):
    """The process is dead; what it had decided may still be on its way to Kafka."""

    def __init__(self, in_flight: Decided | None) -> None:
        super().__init__("dead")
        self.in_flight = in_flight


@dataclass(slots=True)
class StreamsWorker:
    """One worker of the streams: owner of partitions, or a zombie that thinks it is."""

    world: World
    rules: Rules
    partitions: tuple[int, ...]
    rng: random.Random
    cursors: dict[int, int] = field(default_factory=dict)
    burns: BurnsPublished = field(default_factory=BurnsPublished)
    table: Table = field(init=False)
    book: PriceBook = field(init=False)  # as it was when this worker last heard of prices

    def __post_init__(self) -> None:
        self.book = self.world.book
        self.table = Table(WINDOW_MS, self.rules.new_state)
        for partition in self.partitions:
            self._decide_where_burns_stand(partition)
            position = complete(
                recovery_of(self.world, self.table, self.burns).resume_at(partition)
            )
            if self.rules.believes_commits:
                position = self.world.committed[partition]
                self.table.partition(partition).fold.start_at(position)
            self.cursors[partition] = position

    def _decide_where_burns_stand(self, partition: int) -> None:
        # Folds begin where the burns still need it, that is anywhere, or a window ago.
        is_published = self.rng.random() < 0.7
        self.burns.published_to = len(self.world.rated[partition]) if is_published else 0

    def position(self, partition: int) -> int:
        """Return where the fold stands."""
        return self.table.partition(partition).fold.next_offset

    def run(
        self,
        partition: int,
        *,
        crash_at: int | None = None,
        records_max: int | None = None,
        events_max: int = BATCH_EVENTS_MAX,
    ) -> None:
        """Read a run and rate it. Steps are decide-write, decide-write ...; `crash_at`: before one.

        Raises CrashedError.
        """
        log, position = self.world.raw[partition], self.position(partition)
        records = log.read(self.cursors[partition], records_max or self.rng.randint(1, 4))
        first_in_log = next((record.offset for record in log.read(position, 1)), log.end)
        if not records or not self.rules.admits(position, records, first_in_log):
            self.world.met["run read from beyond the position"] += bool(records)
            self.cursors[partition] = position
            return
        self.world.met["offsets without a record"] += records[0].offset > position
        if self.rng.random() < 0.3:  # Kafka's commits may run ahead of what was written
            self.world.committed[partition] = records[-1].offset + 1
        decoded = [self.world.decode(partition, record) for record in records]
        steps = 0
        for part in parts(decoded, events_max, BATCH_BYTES_MAX):
            decided = self.decide(partition, position, part)
            if crash_at is not None and steps >= crash_at:
                raise CrashedError(decided)
            sent_offset = self._write(decided)
            if crash_at is not None and steps + 1 >= crash_at:
                self.world.met["batch landed though its writer died"] += 1
                raise CrashedError(None)
            steps += 2
            self._remember(partition, decided, sent_offset)
            position = self.position(partition)
            if position != decided.batch.next_offset:
                break  # the rest of the run is void
        self.cursors[partition] = position

    def decide(self, partition: int, first: int, part: Sequence[DecodedRecord]) -> Decided:
        """Give every event its verdict."""
        state = self.table.partition(partition)
        judged = self.rules.judge(part, state)
        verdicts = settle(part, judged, self.book, WINDOW_MS)
        times = run_length(part)
        following = part[-1].offset + 1
        positions, identities = self.rules.remembered(part, judged, verdicts)
        self._note(state, verdicts)
        batch = RatedBatch(
            partition,
            first,
            following,
            self.book.revision,
            times,
            verdicts.entries,
            count(verdicts.charges, times),
        )
        fold = Fold(
            Kind.RATED, first, following, times, array("q", positions), b"".join(identities)
        )
        if self.rules.remembers_before_writing:
            state._remember(fold, first)
        return Decided(batch, fold)

    def _note(self, state: SeenPartition, verdicts: Verdicts) -> None:
        """Count what a thousand histories must have come across."""
        met, below = self.world.met, state.fold.next_offset
        for entry in verdicts.entries:
            if entry["verdict"] == "duplicate":
                is_here = entry["of_offset"] >= below
                met["duplicate within a batch" if is_here else "duplicate by seen"] += 1
        met["window over"] += sum(state.get(one) is not None for one in verdicts.identities)

    def cancel(self, partition: int) -> None:
        """Decide a run and drop it before it is written: a rebalance that changed nothing."""
        position = self.position(partition)
        records = self.world.raw[partition].read(position, 2)
        decoded = [self.world.decode(partition, record) for record in records]
        for part in parts(decoded, BATCH_EVENTS_MAX, BATCH_BYTES_MAX):
            self.world.met["run dropped by a rebalance"] += 1
            self.decide(partition, position, part)
            break
        self.cursors[partition] = position

    def _write(self, decided: Decided) -> int:
        """Send the batch; letters that do not ride in it may not arrive."""
        batch = decided.batch
        if not self.rules.letters_ride_in_batch and self.rng.random() < 0.3:
            batch = RatedBatch(
                batch.partition,
                batch.first_offset,
                batch.next_offset,
                batch.price_revision,
                batch.broker_times,
                [entry for entry in batch.events if entry["verdict"] != "dead-letter"],
            )
        return self.world.append_rated(batch, decided.fold)

    def _remember(self, partition: int, decided: Decided, sent_offset: int) -> None:
        """Take what was written into `seen`; fold again when somebody else wrote, too."""
        state = self.table.partition(partition)
        if sent_offset == state.rated_offset or not self.rules.looks_at_sent_offset:
            state.apply(decided.fold, sent_offset)
            return
        recovery = recovery_of(self.world, self.table, self.burns)
        if sent_offset > state.rated_offset:
            self.world.met["folded on: somebody else wrote"] += 1
        else:
            self.world.met["folded anew: the log was cut"] += 1
            self._decide_where_burns_stand(partition)
            recovery.forget(partition)  # the end of the log was lost
        complete(recovery.catch_up(partition))


def run_length(records: Sequence[DecodedRecord]) -> list[tuple[int, int]]:
    """Return the broker times of records as (offset from which on, epoch milliseconds)."""
    times: list[tuple[int, int]] = []
    for record in records:
        if not times or times[-1][1] != record.broker_ms:
            times.append((record.offset, record.broker_ms))
    return times


@dataclass(slots=True)
class Sink:
    """One worker of the sinks; several may work on the same partitions, from where they stand."""

    world: World
    rules: Rules
    read_to: dict[int, int] = field(default_factory=dict)
    known: dict[int, int] = field(default_factory=dict)  # the ledger's rated_offset, as last seen

    def __post_init__(self) -> None:
        self.resume()

    def resume(self) -> None:
        """Read on from where the ledger stands."""
        self.known = {p: r.rated_offset for p, r in self.world.ledger.reached.items()}
        self.read_to = dict(self.known)

    def transact(self, partitions: Sequence[int], count_max: int) -> int:
        """Apply what comes next of some partitions; return how many records that were."""
        world, ledger = self.world, self.world.ledger
        clipped, records_read = [], 0
        for partition in partitions:
            reached = ledger.reached[partition]
            start = min(self.read_to[partition], len(world.rated[partition]))
            if self.rules.resumes_from_ledger and reached.rated_offset < self.known[partition]:
                start = reached.rated_offset  # the ledger went back: it was restored
            end = min(start + count_max, len(world.rated[partition]))
            records = world.read_rated(partition, range(start, end))
            found = self.rules.clip(reached, records)
            if found.passed_over and not self.rules.passes_over_ahead:
                continue
            clipped.append(found)
            self.read_to[partition] = end
            self.known[partition] = found.reached.rated_offset
            records_read += end - start
            world.met["batch ignored as a replay"] += found.replays
            world.met["batch passed over"] += len(found.passed_over)
            world.met["batch clipped"] += sum(
                one.first_offset > one.record.batch.first_offset for one in found.applied
            )
        ledger.apply(
            clipped,
            world.ms,
            is_unique=self.rules.is_unique,
            verifies_duplicates=self.rules.verifies_duplicates,
        )
        return records_read


def replay(
    world: World, rules: Rules, at: Position, partition: int, *, crash: bool = False
) -> None:
    """Write a letter's bytes to `usage.raw` again, then mark it; dying in between, perhaps."""
    letter = world.ledger.letters[at]
    if crash and rules.marks_letters_before_replay:
        world.ledger.close(at)
        return
    events = world.events_in.get(letter.payload, 1)
    world.produce(partition, letter.payload, events, key=letter.key, headers=replay_headers(at))
    world.met["letter replayed again"] += not letter.is_open
    world.met[f"letter replayed and {'not ' * crash}marked"] += 1
    if not crash:
        world.ledger.close(at)

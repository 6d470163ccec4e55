"""What a rated record still means at the position reached: clip, pass over, refuse. Pure.

The rule is `schemas.rated.cover`, the one that the streams fold by, too.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, repeat

from msgspec import to_builtins

from schemas.dead_letter import Position
from schemas.rated import Cover, DeadLetterEntry, DuplicateEntry, Kind, cover
from sinks.charges import Charge, build_charges
from sinks.copy_rows import epoch_field
from sinks.rated_values import Batch, Charged, Duplicate, Entries, batch_of, read_value

# Less than a millisecond of work: a transaction whose answer has come meanwhile waits no longer.
EVENTS_BETWEEN_RESTS = 200


@dataclass(frozen=True, slots=True)
class RatedRecord:
    """One record of `usage.rated`; each list in (offset, index) order.

    `events`: verdicts that the record holds.
    """

    rated_offset: int
    batch: Batch
    events: int
    charges: list[Charge]
    duplicates: list[DuplicateEntry]
    letters: list[DeadLetterEntry]


def read_record(rated_offset: int, value: bytes) -> RatedRecord:
    """Decode a record and build its rows. Raises ValueError on a format of another release."""
    (record,) = chain.from_iterable(read_records([(rated_offset, value)]))
    return record


def read_records(values: Iterable[tuple[int, bytes]]) -> Iterator[list[RatedRecord]]:
    """Decode records, given as (rated offset, value), and build their rows.

    Yields those that are done, and none where it merely rests. Rows are built for many events at
    once, whatever records they stand in. Raises ValueError as `read_record` does.
    """
    unbuilt = _Unbuilt()
    for rated_offset, value in values:
        unbuilt.add(rated_offset, value)
        if unbuilt.events >= EVENTS_BETWEEN_RESTS:
            yield []
            yield from unbuilt.build()
            unbuilt = _Unbuilt()
    yield from unbuilt.build()


class _Unbuilt:
    """Records whose charges are not built yet. `events`: verdicts that they hold."""

    def __init__(self) -> None:
        self.events = 0
        self._records: list[tuple[RatedRecord, int]] = []  # and how many charges each will have
        self._charged: list[Charged] = []  # of all records, in order
        self._entries: list[Entries] = []  # of each of those
        self._partitions: list[int] = []

    def add(self, rated_offset: int, value: bytes) -> None:
        """Decode a record and sort its entries by verdict."""
        found = read_value(value)
        record = RatedRecord(rated_offset, batch_of(found), len(found.events), [], [], [])
        before = len(self._charged)
        for entry in found.events:
            if isinstance(entry, Charged):
                self._charged.append(entry)
            elif isinstance(entry, Duplicate):
                record.duplicates.append(to_builtins(entry))
            else:
                record.letters.append(to_builtins(entry))
        count = len(self._charged) - before
        self.events += record.events
        self._records.append((record, count))
        self._entries.extend(repeat(Entries(value), count))
        self._partitions.extend(repeat(found.partition, count))

    def build(self) -> Iterator[list[RatedRecord]]:
        """Build the charges, with a rest after each few; then yield the records."""
        charges: list[Charge] = []
        for start in range(0, len(self._charged), EVENTS_BETWEEN_RESTS):
            few = slice(start, start + EVENTS_BETWEEN_RESTS)
            charges += build_charges(self._partitions[few], self._entries[few], self._charged[few])
            yield []
        rest = iter(charges)
        for record, count in self._records:
            record.charges.extend(islice(rest, count))
        yield [record for record, _ in self._records]


@dataclass(frozen=True, slots=True)
class Reached:
    """A row of SinkOffset: how far a partition of the raw topic is applied."""

    partition: int
    epoch: int
    next_offset: int
    rated_offset: int
    max_broker_time: int


@dataclass(slots=True)
class Applied:
    """What one rated batch adds beyond the position reached; a row of RatedBatch once counted."""

    record: RatedRecord
    epoch: int
    first_offset: int
    next_offset: int
    charges: list[Charge] = field(default_factory=list)
    duplicates: list[DuplicateEntry] = field(default_factory=list)
    letters: list[DeadLetterEntry] = field(default_factory=list)
    conflicts: int = 0
    refused: int = 0  # of charges
    unproven: int = 0  # of duplicates: nothing that they repeat is charged
    epoch_field: bytes = field(init=False)  # the last field of the charges' rows

    def __post_init__(self) -> None:
        """Make the field once for all rows."""
        self.epoch_field = epoch_field(self.epoch)

    @property
    def partition(self) -> int:
        """The partition of the raw topic, and of the rated one."""
        return self.record.batch.partition

    @property
    def charged(self) -> int:
        """Events that became usage rows."""
        return len(self.charges) - self.conflicts - self.refused

    @property
    def repeated(self) -> int:
        """Duplicates of the streams that are ones."""
        return len(self.duplicates) - self.unproven

    @property
    def set_aside(self) -> int:
        """Events of which the sink made dead letters."""
        return self.refused + self.unproven

    def position(self, charge: Charge) -> Position:
        """Return where the charge's event stands."""
        return Position(self.partition, self.epoch, charge.offset, charge.index)


@dataclass(frozen=True, slots=True)
class Clipped:
    """What remains of the records of one partition, and the position that they reach."""

    reached: Reached
    applied: list[Applied]
    passed_over: list[RatedRecord]
    replays: int

    @property
    def is_gapped(self) -> bool:
        """Whether something is missing before a record that was passed over."""
        position = self.reached.next_offset
        return any(one.batch.next_offset > position for one in self.passed_over)


class LogMadeAgainError(Exception):
    """Offsets that were applied before hold other records now: the raw log was made again."""

    def __init__(self, reached: Reached, offset: int, broker_time: int) -> None:
        super().__init__(
            f"partition {reached.partition}: offset {offset} is below {reached.next_offset}, which"
            f" was applied, yet its broker time {broker_time} is above {reached.max_broker_time}:"
            " the raw log was made again or cut off. Look at it, then open a new epoch:"
            f" burnstream repair new-epoch {reached.partition} --reason ..."
        )


def clip(reached: Reached, records: Iterable[RatedRecord]) -> Clipped:
    """Fold records of one partition, in the rated topic's order, onto the position reached.

    `rated_offset` stays where a record that starts ahead was passed over, so that whoever resumes
    reads it again. Raises LogMadeAgainError.
    """
    applied: list[Applied] = []
    passed_over: list[RatedRecord] = []
    replays = 0
    for record in records:
        if record.rated_offset < reached.rated_offset:
            # Read before, by whoever got further: a decision must not set the position back, and
            # a batch of an epoch that ended must not count in the next.
            replays += 1
            continue
        if record.batch.kind is Kind.NEW_EPOCH:
            applied.append(_new_epoch(reached, record))
            reached = _advance(reached, record, epoch=reached.epoch + 1)
            continue
        _require_same_log(reached, record.batch)
        match cover(reached.next_offset, record.batch.first_offset, record.batch.next_offset):
            case Cover.AHEAD:
                passed_over.append(record)
            case Cover.NEXT:
                applied.append(_remainder(reached, record))
                reached = _advance(reached, record, epoch=reached.epoch)
            case Cover.REPLAY:
                replays += 1
                if record.rated_offset == reached.rated_offset:
                    reached = _read(reached, record)
    return Clipped(reached, applied, passed_over, replays)


def _require_same_log(reached: Reached, batch: Batch) -> None:
    """Refuse records below the position with a later broker time than any that was applied.

    A true replay has none: the maximum is over everything below the position.
    """
    for offset, broker_time in batch.broker_times:
        if offset < reached.next_offset and broker_time > reached.max_broker_time:
            raise LogMadeAgainError(reached, offset, broker_time)


def _new_epoch(reached: Reached, record: RatedRecord) -> Applied:
    """The row stands under the epoch that ends, from the position that had been reached."""
    return Applied(record, reached.epoch, reached.next_offset, record.batch.next_offset)


def _remainder(reached: Reached, record: RatedRecord) -> Applied:
    first = reached.next_offset
    return Applied(
        record,
        reached.epoch,
        first,
        record.batch.next_offset,
        record.charges[_below(first, [one.offset for one in record.charges]) :],
        record.duplicates[_below(first, [one["offset"] for one in record.duplicates]) :],
        record.letters[_below(first, [one["offset"] for one in record.letters]) :],
    )


def _below(offset: int, offsets: Sequence[int]) -> int:
    return bisect_left(offsets, offset)


def _advance(reached: Reached, record: RatedRecord, *, epoch: int) -> Reached:
    return Reached(
        reached.partition,
        epoch,
        record.batch.next_offset,
        record.rated_offset + 1,
        max(reached.max_broker_time, record.batch.max_broker_time),
    )


def _read(reached: Reached, record: RatedRecord) -> Reached:
    """Nothing to apply, but the record need not be read again."""
    return Reached(
        reached.partition,
        reached.epoch,
        reached.next_offset,
        record.rated_offset + 1,
        reached.max_broker_time,
    )

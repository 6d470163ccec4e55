"""What a rated record still means at the position reached: clip, pass over, refuse. Pure.

The rule is `schemas.rated.cover`, the one that the streams fold by, too.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, repeat

from msgspec import Struct, to_builtins

from schemas.dead_letter import Position
from schemas.rated import ChargedEntry, Cover, DeadLetterEntry, DuplicateEntry, Kind, cover
from sinks.copy_rows import RowRefusedError, epoch_field
from sinks.rated_values import Batch, Charged, Duplicate, Entries, batch_of, read_value
from sinks.usage_rows import EVENT_ID, usage_event_rows

# Some 300 us of work: a transaction whose answer has come meanwhile waits no longer.
ENTRIES_BETWEEN_RESTS = 200

# customer, user, team
Payer = tuple[str, str | None, str | None]


class Charge(Struct, gc=False):
    """A charged event with its UsageEvent row, built before the transaction begins.

    `refusal`: why Postgres cannot hold it; then there is no row. What every transaction needs of an
    event stands here, taken while it was at hand; the rest is read again by whoever wants it.
    """

    entries: Entries
    number: int
    offset: int
    index: int
    row: bytes
    refusal: str | None
    payer: Payer
    key: str | None
    credits: int
    replay_of: str | None

    @property
    def customer_id(self) -> str:
        """Whose event it is."""
        return self.payer[0]

    @property
    def event_id(self) -> bytes:
        """The id as 16 bytes; only of what has a row."""
        return self.row[EVENT_ID]

    @property
    def entry(self) -> ChargedEntry:
        """All that the streams wrote of it."""
        return self.entries.charged(self.number)


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


@dataclass(frozen=True, slots=True)
class _Unbuilt:
    """Records without the rows of their charged entries, of which each list holds something."""

    records: list[RatedRecord] = field(default_factory=list)
    owners: list[RatedRecord] = field(default_factory=list)
    entries: list[Entries] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    charged: list[Charged] = field(default_factory=list)


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
    since_rest = 0
    for rated_offset, value in values:
        since_rest += _decode(unbuilt, rated_offset, value)
        if since_rest >= ENTRIES_BETWEEN_RESTS:
            yield []
            yield from _build(unbuilt)
            unbuilt, since_rest = _Unbuilt(), 0
    yield from _build(unbuilt)


def _decode(unbuilt: _Unbuilt, rated_offset: int, value: bytes) -> int:
    """Add a record, sort its entries by verdict, and return how many there are."""
    found = read_value(value)
    record = RatedRecord(rated_offset, batch_of(found), len(found.events), [], [], [])
    before = len(unbuilt.charged)
    for number, entry in enumerate(found.events):
        if isinstance(entry, Charged):
            unbuilt.numbers.append(number)
            unbuilt.charged.append(entry)
        elif isinstance(entry, Duplicate):
            record.duplicates.append(to_builtins(entry))
        else:
            record.letters.append(to_builtins(entry))
    charged = len(unbuilt.charged) - before
    unbuilt.records.append(record)
    unbuilt.owners.extend(repeat(record, charged))
    unbuilt.entries.extend(repeat(Entries(value), charged))
    return record.events


def _build(unbuilt: _Unbuilt) -> Iterator[list[RatedRecord]]:
    """Build the rows, with a rest after each few; then yield the records."""
    for start in range(0, len(unbuilt.charged), ENTRIES_BETWEEN_RESTS):
        few = slice(start, start + ENTRIES_BETWEEN_RESTS)
        charged = unbuilt.charged[few]
        partitions = [record.batch.partition for record in unbuilt.owners[few]]
        for record, charge in zip(
            unbuilt.owners[few],
            map(
                Charge,
                unbuilt.entries[few],
                unbuilt.numbers[few],
                [entry.offset for entry in charged],
                [entry.index for entry in charged],
                *_rows(partitions, charged),
                [
                    _payer(entry.event.customer_id, entry.event.user_id, entry.event.team_id)
                    for entry in charged
                ],
                [entry.event.idempotency_key for entry in charged],
                [entry.credits for entry in charged],
                [entry.replay_of for entry in charged],
            ),
            strict=True,
        ):
            record.charges.append(charge)
        yield []
    yield unbuilt.records


def _rows(
    partitions: Sequence[int], charged: Sequence[Charged]
) -> tuple[Sequence[bytes], Sequence[str | None]]:
    """Return the row of each entry, and why there is none."""
    try:
        return usage_event_rows(partitions, charged), [None] * len(charged)
    except RowRefusedError as error:
        if len(charged) == 1:
            return [b""], [str(error)]
    alone = [_rows([one], [entry]) for one, entry in zip(partitions, charged, strict=True)]
    return [row for (row,), _ in alone], [refusal for _, (refusal,) in alone]


@lru_cache(maxsize=16_384)  # one object for all events of a payer
def _payer(customer_id: str, user_id: str | None, team_id: str | None) -> Payer:
    return customer_id, user_id, team_id


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

    @property
    def partition(self) -> int:
        """The partition of the raw topic, and of the rated one."""
        return self.record.batch.partition

    @property
    def epoch_field(self) -> bytes:
        """The last field of the charges' rows."""
        return epoch_field(self.epoch)

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

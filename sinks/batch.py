"""What a rated record still means at the position reached: clip, pass over, refuse. Pure.

The rule is `schemas.rated.cover`, the one that the streams fold by, too.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, cast

from schemas.dead_letter import Position
from schemas.rated import (
    ChargedEntry,
    Cover,
    DeadLetterEntry,
    DuplicateEntry,
    Kind,
    RatedBatch,
    cover,
    decode_batch,
)
from sinks.copy_rows import RowRefusedError, epoch_field, usage_event_row

# Some 300 us of work: a transaction whose answer has come meanwhile waits no longer.
ENTRIES_BETWEEN_RESTS = 100


# customer, user, team
Payer = tuple[str, str | None, str | None]


class Charge(NamedTuple):
    """A charged event with its UsageEvent row, built before the transaction begins.

    `refusal`: why Postgres cannot hold it; then there is no row. What every transaction needs of an
    event stands here, taken while it was at hand: thousands of events later the processor has
    nothing of them left in its caches, and each walk over the entries waits for memory.
    """

    entry: ChargedEntry
    row: bytes
    refusal: str | None
    payer: Payer
    event_id: str
    credits: int
    replay_of: str | None

    @property
    def customer_id(self) -> str:
        """Whose event it is."""
        return self.payer[0]


@dataclass(frozen=True, slots=True)
class RatedRecord:
    """One record of `usage.rated`; each list in (offset, index) order."""

    rated_offset: int
    batch: RatedBatch
    charges: list[Charge]
    duplicates: list[DuplicateEntry]
    letters: list[DeadLetterEntry]

    @property
    def events(self) -> int:
        """Verdicts that the record holds."""
        return len(self.batch.events)


def read_record(rated_offset: int, value: bytes) -> RatedRecord:
    """Decode a record and build its rows. Raises ValueError on a format of another release."""
    record = decode_record(rated_offset, value)
    for _ in build_rows(record):
        pass
    return record


def decode_record(rated_offset: int, value: bytes) -> RatedRecord:
    """Decode a record; `build_rows` then fills it. Raises ValueError as `read_record` does."""
    return RatedRecord(rated_offset, decode_batch(value), [], [], [])


def build_rows(record: RatedRecord) -> Iterator[None]:
    """Sort the entries by verdict and build the rows of charges, with a rest after each few."""
    partition = record.batch.partition
    charges = record.charges
    for number, entry in enumerate(record.batch.events, start=1):
        verdict = entry["verdict"]
        if verdict == "charged":
            charges.append(_charge(partition, cast("ChargedEntry", entry)))
        elif verdict == "duplicate":
            record.duplicates.append(cast("DuplicateEntry", entry))
        elif verdict == "dead-letter":
            record.letters.append(cast("DeadLetterEntry", entry))
        else:
            raise ValueError(
                f"rated record {record.rated_offset} holds the unknown verdict {verdict!r}"
            )
        if not number % ENTRIES_BETWEEN_RESTS:
            yield


def _charge(partition: int, entry: ChargedEntry) -> Charge:
    event = entry["event"]
    row, refusal = b"", None
    try:
        row = usage_event_row(partition, entry)
    except RowRefusedError as error:
        refusal = str(error)
    payer = _payer(event["customer_id"], event.get("user_id"), event.get("team_id"))
    replay_of = entry.get("replay_of")
    return Charge(entry, row, refusal, payer, event["event_id"], entry["credits"], replay_of)


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
        entry = charge.entry
        return Position(self.partition, self.epoch, entry["offset"], entry["index"])


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


def _require_same_log(reached: Reached, batch: RatedBatch) -> None:
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
        record.charges[_below(first, [charge.entry for charge in record.charges]) :]
        if record.batch.first_offset < first
        else record.charges,
        record.duplicates[_below(first, record.duplicates) :],
        record.letters[_below(first, record.letters) :],
    )


def _below(
    offset: int, entries: "list[ChargedEntry] | list[DuplicateEntry] | list[DeadLetterEntry]"
) -> int:
    return bisect_left(entries, offset, key=lambda entry: entry["offset"])


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

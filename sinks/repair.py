"""`burnstream repair`: a person's decision about a log that cannot heal by itself.

The decision is a record of `usage.rated`, so that sinks and streams follow it by the rule that they
follow for everything else, at one place in the order of things; `audit` prints it for ever.
"""

import asyncio
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.runtime.kafka import producer_options, reader_options
from deploy.runtime.settings import RuntimeSettings
from schemas.dead_letter import FORMAT_HEADER
from schemas.rated import (
    FOLD_HEADER,
    Cover,
    Fold,
    Kind,
    RatedBatch,
    cover,
    encode_batch,
    pack_fold,
    unpack_fold,
)
from schemas.topics import RATED_MESSAGE_BYTES_MAX
from sinks.agreement import AppliedRow, RowBack, read_on_at
from sinks.batch import Reached
from sinks.statements import statement

ACK_TIMEOUT_SECONDS = 30.0
FETCH_TIMEOUT_MS = 1_000


class RepairError(Exception):
    """The state does not call for this decision; the message says what it is."""


@dataclass(frozen=True)
class RatedRecord:
    """A record of `usage.rated`, to be written again byte for byte."""

    first_offset: int
    next_offset: int
    record: Any


@dataclass
class Rest:
    """The rated records that the sinks have not applied, folded by the sinks' rule."""

    next_offset: int
    max_broker_time: int
    applicable: list[RatedRecord] = field(default_factory=list)
    passed_over: list[RatedRecord] = field(default_factory=list)
    # Whether a sink stops on a record: it names applied offsets with a time that is too young.
    is_refused: bool = False

    def add(self, record: Any, fold: Fold) -> None:
        """Take the next record of the log."""
        one = RatedRecord(fold.first_offset, fold.next_offset, record)
        if fold.kind is not Kind.NEW_EPOCH:
            if any(
                offset < self.next_offset and ms > self.max_broker_time
                for offset, ms in fold.broker_times
            ):
                self.is_refused = True
                return
            covers = cover(self.next_offset, fold.first_offset, fold.next_offset)
            if covers is Cover.AHEAD:
                self.passed_over.append(one)
            if covers is not Cover.NEXT:
                return
        self.applicable.append(one)
        self.next_offset = fold.next_offset
        self.max_broker_time = max([self.max_broker_time, *(ms for _, ms in fold.broker_times)])

    @property
    def ahead(self) -> list[RatedRecord]:
        """What was passed over and is still beyond the position reached."""
        return [one for one in self.passed_over if one.next_offset > self.next_offset]


@dataclass(frozen=True)
class PartitionState:
    """One partition as its logs and its ledger have it, all rated records applied."""

    partition: int
    next_offset: int
    rated_offset: int
    rated_start: int
    rated_end: int
    raw_start: int
    raw_end: int
    # Offset of the first raw record younger than everything applied; None: there is none.
    first_younger_offset: int | None
    ahead: Sequence[RatedRecord] = ()
    # Records to write again before the decision, because a sink stops before it reads them.
    unreachable: Sequence[RatedRecord] = ()
    is_refused: bool = False

    @property
    def is_rated_lost(self) -> bool:
        """Whether `usage.rated` has lost records that were not applied."""
        return self.rated_start > self.rated_offset and bool(self.ahead)


@dataclass(frozen=True)
class Decision:
    """What was written: the marker's range and place, and how many records around it again."""

    kind: Kind
    partition: int
    first_offset: int
    next_offset: int
    rated_offset: int
    written_again: int = 0


def plan_new_epoch(state: PartitionState, from_offset: int | None = None) -> int:
    """Return where the new epoch starts: at the first record that is younger than all applied ones.

    `from_offset`: a person says where, and answers for it; too low is safe, since what is charged
    is recognised.

    Where the raw log is the one that was applied, and only what was rated of it is lost, at the
    position: streams rate from there on again.

    Raises RepairError when both logs are, or when the raw log has no such offset.
    """
    if from_offset is not None:
        if not state.raw_start <= from_offset <= state.raw_end:
            raise RepairError(
                f"partition {state.partition} cannot go on at {from_offset}: the raw log holds "
                f"[{state.raw_start}, {state.raw_end})"
            )
        return from_offset
    younger = state.first_younger_offset
    if state.raw_end < state.next_offset:
        return state.raw_end if younger is None else younger
    if younger is not None and younger < state.next_offset:
        return younger
    if state.is_rated_lost and state.raw_start <= state.next_offset:
        return state.next_offset
    raise RepairError(
        f"partition {state.partition} needs no new epoch: the raw log ends at {state.raw_end}, "
        f"{state.next_offset} is applied, and nothing below is younger than what was applied. If "
        f"it is another log all the same (the broker's clock went back), say where it begins: "
        f"--from OFFSET"
    )


def plan_hole(state: PartitionState) -> int:
    """Return where the hole ends: at the first batch beyond it, else at the raw log's start.

    Raises RepairError when the events of the hole can still come.
    """
    if state.raw_start <= state.next_offset:
        remedy = (
            f"have it rated again: burnstream repair new-epoch {state.partition}"
            if state.is_rated_lost
            else "streams will fill it"
        )
        raise RepairError(
            f"partition {state.partition} has no hole to accept: {state.next_offset} is next and "
            f"the raw log holds it (it starts at {state.raw_start}); {remedy}"
        )
    return min((batch.first_offset for batch in state.ahead), default=state.raw_start)


async def repair(
    settings: RuntimeSettings,
    connection: psycopg.Connection[Any],
    kind: Kind,
    partition: int,
    *,
    reason: str,
    by: str,
    from_offset: int | None = None,
) -> Decision:
    """Write the decision for one partition, when its state calls for it.

    `from_offset`: where a new epoch starts, said by a person.

    Raises:
        RepairError: it does not, or there is no such partition.
        aiokafka.errors.KafkaError, psycopg.OperationalError, TimeoutError: unreachable.
    """
    state = await read_state(settings, connection, partition)
    is_new_epoch = kind is Kind.NEW_EPOCH
    following = plan_new_epoch(state, from_offset) if is_new_epoch else plan_hole(state)
    ahead = state.ahead if kind is Kind.HOLE else ()
    batch = RatedBatch(
        partition=partition,
        first_offset=state.next_offset,
        next_offset=following,
        price_revision=0,
        broker_times=[],
        events=[],
        kind=kind,
        reason=reason,
        decided_by=by,
    )
    first, marker = await _append(settings, state, batch, ahead)
    # A sink that stopped reads on from here; so does one whose rated log was made again.
    resume = first if state.is_refused else min(marker, state.rated_offset)
    with connection.transaction():
        connection.execute(
            'UPDATE "SinkOffset" SET rated_offset = %s '
            "WHERE topic = %s AND partition = %s AND (%s OR rated_offset > %s)",
            [resume, settings.topics.raw, partition, state.is_refused, resume],
        )
    written_again = len(state.unreachable) + len(ahead)
    return Decision(kind, partition, state.next_offset, following, marker, written_again)


async def _append(
    settings: RuntimeSettings,
    state: PartitionState,
    batch: RatedBatch,
    after: Sequence[RatedRecord],
) -> tuple[int, int]:
    """Append records again around the marker; return the offset of the first, and the marker's."""
    before, rated_end = state.unreachable, state.rated_end
    fold = Fold(batch.kind, batch.first_offset, batch.next_offset, [], array("q"), b"")
    headers = [FORMAT_HEADER, (FOLD_HEADER, pack_fold(fold))]
    target = (settings.topics.rated, batch.partition)
    producer = AIOKafkaProducer(
        **producer_options(settings, "repair"), max_request_size=2 * RATED_MESSAGE_BYTES_MAX
    )

    async def send(value: bytes, headers: list[tuple[str, bytes]]) -> int:
        offset = await _send(producer, target, value, headers)
        return offset if offset >= 0 else await _look_for(settings, target, rated_end, value)

    await producer.start()
    try:
        offsets = [await send(*_again(one)) for one in before]
        marker = await send(encode_batch(batch), headers)
        for one in after:
            await send(*_again(one))
    finally:
        await producer.stop()
    return min([*offsets, marker]), marker


def _again(one: RatedRecord) -> tuple[bytes, list[tuple[str, bytes]]]:
    return one.record.value, list(one.record.headers)


async def _send(
    producer: AIOKafkaProducer,
    target: tuple[str, int],
    value: bytes,
    headers: list[tuple[str, bytes]],
) -> int:
    """Return the offset; -1 when the broker had the record already and does not know where."""
    topic, partition = target
    sending = await producer.send(topic, value=value, partition=partition, headers=headers)
    record = await asyncio.wait_for(asyncio.shield(sending), ACK_TIMEOUT_SECONDS)
    return int(record.offset)


async def _look_for(
    settings: RuntimeSettings, target: tuple[str, int], first_offset: int, value: bytes
) -> int:
    """Return where a record stands that was acknowledged without its offset, at or after another.

    Raises RepairError when it is not there.
    """
    log = TopicPartition(*target)
    reader = AIOKafkaConsumer(**reader_options(settings, "repair"))
    await reader.start()
    try:
        end = (await reader.end_offsets([log]))[log]
        reader.assign([log])
        reader.seek(log, first_offset)
        offset: int | None = None
        while await reader.position(log) < end:
            for record in (await reader.getmany(timeout_ms=FETCH_TIMEOUT_MS)).get(log, ()):
                offset = record.offset if record.value == value else offset
    finally:
        await reader.stop()
    if offset is None:
        raise RepairError(
            f"Kafka acknowledged a record of {log.topic}, partition {log.partition}, that is not in"
            f" the log from {first_offset} on: look at the brokers, then decide again"
        )
    return offset


async def read_state(
    settings: RuntimeSettings, connection: psycopg.Connection[Any], partition: int
) -> PartitionState:
    """Read the partition's position and logs; rated records not applied yet count as applied."""
    topics = settings.topics
    row = connection.execute(
        'SELECT next_offset, max_broker_time, rated_offset, epoch FROM "SinkOffset" '
        "WHERE topic = %s AND partition = %s",
        [topics.raw, partition],
    ).fetchone()
    if row is None:
        raise RepairError(f"there is no partition {partition} of {topics.raw}")
    raw, rated = TopicPartition(topics.raw, partition), TopicPartition(topics.rated, partition)
    reader = AIOKafkaConsumer(**reader_options(settings, "repair"))
    await reader.start()
    try:
        starts = await reader.beginning_offsets([raw, rated])
        ends = await reader.end_offsets([raw, rated])
        reached = Reached(partition, row[3], row[0], row[2], row[1])
        first = await read_on_at(reader, rated, reached, _rows_back(connection, raw))
        rest = Rest(next_offset=row[0], max_broker_time=row[1])
        unread = range(max(first, starts[rated]), ends[rated])
        await _read_rest(reader, rated, unread, rest)
        younger = (await reader.offsets_for_times({raw: rest.max_broker_time + 1}))[raw]
    finally:
        await reader.stop()
    return PartitionState(
        partition=partition,
        next_offset=rest.next_offset,
        rated_offset=first,
        rated_start=starts[rated],
        rated_end=ends[rated],
        raw_start=starts[raw],
        raw_end=ends[raw],
        first_younger_offset=younger.offset if younger is not None else None,
        ahead=rest.ahead,
        unreachable=rest.applicable if rest.is_refused else (),
        is_refused=rest.is_refused,
    )


def _rows_back(connection: psycopg.Connection[Any], raw: TopicPartition) -> RowBack:
    async def row_back(back: int) -> AppliedRow | None:
        parameters = {"topic": raw.topic, "partition": raw.partition, "back": back}
        row = connection.execute(statement("applied_row"), parameters).fetchone()
        return None if row is None else AppliedRow(*row)

    return row_back


async def _read_rest(
    reader: AIOKafkaConsumer, rated: TopicPartition, offsets: range, rest: Rest
) -> None:
    """Apply rated records as the sinks will."""
    reader.assign([rated])
    if offsets:
        reader.seek(rated, offsets.start)
    while offsets and await reader.position(rated) < offsets.stop:
        found = await reader.getmany(timeout_ms=FETCH_TIMEOUT_MS)
        for record in found.get(rated, ()):
            rest.add(record, unpack_fold(dict(record.headers)[FOLD_HEADER]))

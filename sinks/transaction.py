"""The steps of the sink's one transaction; their order and what each guarantees: sinks/agent.py.

Locks are taken in one order by every worker: SinkOffset, customers, UsageEvent, wallets by id,
CreditTransaction.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import repeat
from typing import Any
from uuid import UUID

import psycopg
from psycopg.errors import SerializationFailure, UniqueViolation

from schemas.dead_letter import Position, Reason
from sinks import copy_rows
from sinks.batch import Applied, Clipped, RatedRecord, Reached, clip
from sinks.charges import Charge, Payer
from sinks.copy_rows import text_array, uuid_array
from sinks.outcome_rows import (
    Repeat,
    Row,
    batch_row,
    duplicate_row,
    duplicates_of,
    letter_row,
    refusal_row,
)
from sinks.postgres import Connection, copy_bytes, copy_values, is_about_data
from sinks.statements import statement
from sinks.wallets import Account

CONFLICT_ROUNDS_MAX = 20
ROWS_PER_PIECE = 400  # as much as psycopg sends in one go

Pair = tuple[Charge, Applied]
Identity = tuple[str, bytes, str | None]  # customer, id as 16 bytes, key
Parameters = Mapping[str, Any]


class OffsetRowMissingError(Exception):
    """SinkOffset has no row for a partition: nobody may guess where it begins."""

    def __init__(self, topic: str, partitions: Sequence[int]) -> None:
        super().__init__(
            f"SinkOffset has no row for {topic}, partitions {list(partitions)}:"
            " run burnstream topics (or scale), which alone makes them"
        )


class LedgerWentBackError(Exception):
    """SinkOffset stands before what this worker has seen: it was restored, or repaired."""

    def __init__(self, partitions: Sequence[int]) -> None:
        super().__init__(f"the ledger of partitions {list(partitions)} went back")
        self.partitions = tuple(partitions)


@dataclass(frozen=True, slots=True)
class Voided:
    """A charged event that the transaction undoes; `created_at` and `credits`: of its row.

    `by`: the correction.
    """

    customer_id: str
    event_id: str
    created_at: datetime
    credits: int
    by: Pair


def _nothing(work: "Work") -> None:
    """Nobody waits for this transaction."""
    del work


@dataclass(slots=True)
class Work:
    """One transaction: the records gathered, and what the steps make of them."""

    connection: Connection
    topic: str
    records: Mapping[int, Sequence[RatedRecord]]  # by partition, in the rated topic's order
    known_rated_offsets: Mapping[int, int] = field(default_factory=dict)
    # Looks for what is charged already before it writes, instead of after it was refused: where
    # some events of a transaction are late duplicates, so are some of the next one.
    expects_conflicts: bool = False
    reached: dict[int, Reached] = field(default_factory=dict)  # of the rows held
    left_out: list[int] = field(default_factory=list)  # partitions whose rows others hold
    clipped: list[Clipped] = field(default_factory=list)
    charges: list[Pair] = field(default_factory=list)  # in (partition, offset, index) order
    repeats: list[Repeat] = field(default_factory=list)  # said to be duplicates, by whomever
    accounts: dict[str, Account] = field(default_factory=dict)
    debited: list[Pair] = field(default_factory=list)  # the charge of each debit
    voided: list[Voided] = field(default_factory=list)  # events that corrections undo
    now: int = 0  # of the ledger rows, microseconds since 2000
    payers: dict[Payer, str] = field(default_factory=dict)  # the wallet that pays for each
    owners: dict[str, str] = field(default_factory=dict)  # of all wallets: customers
    letter_rows: list[Row] = field(default_factory=list)
    on_committed: Callable[["Work"], None] = _nothing

    @property
    def applied(self) -> list[Applied]:
        """What the transaction applies, in the order of partitions and offsets."""
        return [applied for clipped in self.clipped for applied in clipped.applied]

    async def fetch(self, name: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        """Run sinks/sql/sink/NAME.sql and return its rows."""
        cursor = await self.connection.execute(statement(name), parameters)
        return await cursor.fetchall()


async def begin(work: Work) -> None:
    """Begin the transaction, with bounds for what it may hold up."""
    await work.connection.execute(statement("begin"))


async def lock_offsets(work: Work) -> None:
    """Take the SinkOffset rows, leaving out those that another transaction holds.

    Raises OffsetRowMissingError, LedgerWentBackError.
    """
    wanted = {"topic": work.topic, "partitions": list(work.records)}
    rows = await work.fetch("lock_offsets", wanted)
    work.reached = {row[0]: Reached(*row) for row in rows}
    work.left_out = [one for one in work.records if one not in work.reached]
    if work.left_out:
        existing = {row[0] for row in await work.fetch("read_offsets", wanted)}
        missing = [one for one in work.left_out if one not in existing]
        if missing:
            raise OffsetRowMissingError(work.topic, missing)
    went_back = [
        partition
        for partition, reached in work.reached.items()
        if reached.rated_offset < work.known_rated_offsets.get(partition, 0)
    ]
    if went_back:
        raise LedgerWentBackError(went_back)


async def clip_records(work: Work) -> None:
    """Keep what lies beyond the positions reached. Raises LogMadeAgainError."""
    work.clipped = [clip(reached, work.records[one]) for one, reached in work.reached.items()]
    for applied in work.applied:
        work.charges += zip(applied.charges, repeat(applied))
        work.letter_rows += [letter_row(applied, entry) for entry in applied.letters]
        work.repeats += duplicates_of(applied)


async def check_customers(work: Work) -> None:
    """Refuse events of customers that are unknown or have left, and rows that cannot be built."""
    if not work.charges:
        return
    fit = [charge for charge, _ in work.charges if charge.refusal is None]
    customers = {payer.customer_id for payer in {charge.payer for charge in fit}}
    rows = await work.fetch("find_customers", {"customers": text_array(customers)})
    known = {row[0] for row in rows}
    if known == customers and len(fit) == len(work.charges):
        return
    kept = []
    for pair in work.charges:
        charge = pair[0]
        if charge.refusal is not None:
            _refuse(work, pair, Reason.REFUSED_BY_DATABASE, charge.refusal)
        elif charge.customer_id not in known:
            _refuse(work, pair, Reason.UNKNOWN_CUSTOMER, "no such customer, or it has left")
        else:
            kept.append(pair)
    work.charges = kept


async def copy_events(work: Work) -> None:
    """Write the UsageEvent rows; what is charged already is a conflict, what fails a letter."""
    if work.expects_conflicts:
        work.charges = await _without_charged(work, work.charges)
    work.charges = await _copy_charges(work, work.charges)


def _usage_rows(pairs: Sequence[Pair]) -> Iterator[bytes]:
    """Yield rows, some at a time, by customer: what is inserted together lies together in an index.

    In a ledger of ten million rows that is a quarter of what a transaction costs Postgres.
    """
    ordered = sorted(pairs, key=_customer)
    for start in range(0, len(ordered), ROWS_PER_PIECE):
        piece = ordered[start : start + ROWS_PER_PIECE]
        yield b"".join(
            [part for charge, applied in piece for part in (charge.row, applied.epoch_field)]
        )


def _customer(pair: Pair) -> str:
    return pair[0].payer.customer_id


async def _copy_charges(work: Work, pairs: list[Pair]) -> list[Pair]:
    """Write what can be written of the pairs and return it, in order."""
    for _ in range(CONFLICT_ROUNDS_MAX):
        if not pairs:
            return pairs
        try:
            async with work.connection.transaction():  # a savepoint
                await copy_bytes(
                    work.connection,
                    copy_rows.COPY_USAGE_EVENTS,
                    _usage_rows(pairs),
                )
        except UniqueViolation:
            pairs = await _without_conflicts(work, pairs)
        except psycopg.Error as error:
            if not is_about_data(error):
                raise
            return await _copy_halves(work, pairs, error)
        else:
            return pairs
    raise SerializationFailure("other sinks keep charging events of this transaction")


async def _copy_halves(work: Work, pairs: list[Pair], error: psycopg.Error) -> list[Pair]:
    """Corner the event that Postgres refuses; inside the same transaction, so order is kept."""
    if len(pairs) == 1:
        message = error.diag.message_primary or str(error)
        _refuse(work, pairs[0], Reason.REFUSED_BY_DATABASE, message)
        return []
    middle = len(pairs) // 2
    first = await _copy_charges(work, pairs[:middle])
    return first + await _copy_charges(work, pairs[middle:])


async def _without_charged(work: Work, pairs: list[Pair]) -> list[Pair]:
    """Drop the events that are charged already, and remember of what."""
    asked = sorted(pairs, key=_customer)  # as they are written, and for the same reason
    rows = await _find_charged(
        work, [(charge.customer_id, charge.event_id, charge.key) for charge, _ in asked]
    )
    originals = {id(asked[number - 1]): original for number, original in rows.items()}
    kept = []
    for pair in pairs:
        original = originals.get(id(pair))
        if original is None:
            kept.append(pair)
        else:
            _conflict(work, pair, original)
    return kept


async def _without_conflicts(work: Work, pairs: list[Pair]) -> list[Pair]:
    """Drop the events that are charged already, or twice among these, and remember of what."""
    here: dict[tuple[str, bytes | str], tuple[int, int, int]] = {}
    kept = []
    for pair in await _without_charged(work, pairs):
        charge = pair[0]
        identities: list[tuple[str, bytes | str]] = [(charge.customer_id, charge.event_id)]
        if charge.key is not None:
            identities.append((charge.customer_id, charge.key))
        original = next((here[identity] for identity in identities if identity in here), None)
        if original is not None:
            _conflict(work, pair, original)
            continue
        position = (pair[1].partition, charge.offset, charge.index)
        here |= dict.fromkeys(identities, position)
        kept.append(pair)
    return kept


def _conflict(work: Work, pair: Pair, original: tuple[int, int, int]) -> None:
    charge, applied = pair
    applied.conflicts += 1
    work.repeats.append(Repeat(applied, charge.entry, original, "conflict"))


async def _find_charged(work: Work, events: Sequence[Identity]) -> dict[int, tuple[int, int, int]]:
    """Return where the charged event stands that shares an identity, by the number (from 1)."""
    rows = await work.fetch(
        "find_charged",
        {
            "customers": text_array(customer for customer, _, _ in events),
            "ids": uuid_array(event_id for _, event_id, _ in events),
            "keys": text_array(key for _, _, key in events),
        },
    )
    return {number: (partition, offset, index) for number, partition, offset, index in rows}


async def remove(work: Work, pairs: Sequence[Pair], message: str) -> None:
    """Take back the rows of events that cannot be charged after all; each becomes a letter."""
    if not pairs:
        return
    await work.connection.execute(
        statement("remove_events"),
        {
            "customers": text_array(charge.customer_id for charge, _ in pairs),
            "ids": uuid_array(charge.event_id for charge, _ in pairs),
        },
    )
    refused = {id(charge) for charge, _ in pairs}
    work.charges = [pair for pair in work.charges if id(pair[0]) not in refused]
    for pair in pairs:
        _refuse(work, pair, Reason.REFUSED_BY_DATABASE, message)


async def verify_duplicates(work: Work) -> None:
    """Believe in no duplicate whose id or key is not charged: it becomes a dead letter.

    What it was called a duplicate of may itself have been a conflict, or refused. Everything that
    this transaction charges is written by now; where another sink charges an identity of it at this
    moment, the letter's replay is a conflict, which costs no more than the way.
    """
    if not work.repeats:
        return
    charged = await _find_charged(work, [_identity(one) for one in work.repeats])
    proven = []
    for number, one in enumerate(work.repeats, start=1):
        if number in charged:
            proven.append(one)
            continue
        applied = one.applied
        if one.found_by == "conflict":
            applied.conflicts -= 1
            applied.refused += 1
        else:
            applied.unproven += 1
        reason = Reason.ORIGINAL_NOT_CHARGED
        work.letter_rows.append(refusal_row(applied, one.entry, reason, one.complaint))
    work.repeats = proven


def _identity(repeated: Repeat) -> Identity:
    event = repeated.event
    return event["customer_id"], UUID(event["event_id"]).bytes, event.get("idempotency_key")


async def copy_letters(work: Work) -> None:
    """Write dead letters and duplicates; close the letters whose replay needs nothing more."""
    connection = work.connection
    await copy_values(
        connection, copy_rows.COPY_DEAD_LETTERS, copy_rows.DEAD_LETTER_TYPES, work.letter_rows
    )
    await copy_values(
        connection,
        copy_rows.COPY_DUPLICATE_EVENTS,
        copy_rows.DUPLICATE_EVENT_TYPES,
        [duplicate_row(one) for one in work.repeats],
    )
    await _close_letters(work)


async def _close_letters(work: Work) -> None:
    """Close letters of the events that were charged; anybody may name any letter."""
    replays = [
        (charge.entry["event"], charge.replay_of)
        for charge, _ in work.charges
        if charge.replay_of is not None
    ]
    replays += [(one.event, one.replay_of) for one in work.repeats if one.replay_of is not None]
    closed = [
        (event, position)
        for event, replay_of in replays
        if (position := _position(replay_of)) is not None
    ]
    if closed:
        await work.connection.execute(
            statement("close_letters"),
            {
                "customers": [event["customer_id"] for event, _ in closed],
                "events": [event["event_id"] for event, _ in closed],
                "partitions": [position.partition for _, position in closed],
                "epochs": [position.epoch for _, position in closed],
                "offsets": [position.offset for _, position in closed],
                "indexes": [position.index for _, position in closed],
            },
        )


def _position(replay_of: str) -> Position | None:
    """Read what a producer of Kafka wrote into its header: it may be anything."""
    try:
        return Position.parse(replay_of)
    except ValueError:
        return None


async def copy_batches(work: Work) -> None:
    """Write a RatedBatch row per batch, counted after clipping."""
    await copy_values(
        work.connection,
        copy_rows.COPY_RATED_BATCHES,
        copy_rows.RATED_BATCH_TYPES,
        [batch_row(work.topic, applied) for applied in work.applied],
    )


async def advance_offsets(work: Work) -> None:
    """Set the positions reached: from here on the same records are replays."""
    moved = [
        one.reached for one in work.clipped if one.reached != work.reached[one.reached.partition]
    ]
    if moved:
        await work.connection.execute(
            statement("advance_offsets"),
            {
                "topic": work.topic,
                "partitions": [one.partition for one in moved],
                "epochs": [one.epoch for one in moved],
                "next_offsets": [one.next_offset for one in moved],
                "rated_offsets": [one.rated_offset for one in moved],
                "max_broker_times": [one.max_broker_time for one in moved],
            },
        )


async def commit(work: Work) -> None:
    """Make all of it durable, or, when the connection is lost here, perhaps none of it."""
    await work.connection.execute(b"COMMIT")


def _refuse(work: Work, pair: Pair, reason: Reason, message: str) -> None:
    """Make a dead letter of a charged event."""
    charge, applied = pair
    applied.refused += 1
    work.letter_rows.append(refusal_row(applied, charge.entry, reason, message))

"""The steps of the sink's one transaction; their order and what each guarantees: sinks/agent.py.

Locks are taken in one order by every worker: SinkOffset, customers, UsageEvent, wallets by id,
CreditTransaction.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.errors import SerializationFailure, UniqueViolation

from schemas.dead_letter import Position, Reason
from schemas.events import UsageEvent
from sinks import copy_rows
from sinks.batch import Applied, Charge, Clipped, RatedRecord, Reached, clip
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
from sinks.wallets import Account, Debit, Wallet, burn, choose_wallet, wallets_by_scope

CONFLICT_ROUNDS_MAX = 20

Pair = tuple[Charge, Applied]
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
    reached: dict[int, Reached] = field(default_factory=dict)  # of the rows held
    left_out: list[int] = field(default_factory=list)  # partitions whose rows others hold
    clipped: list[Clipped] = field(default_factory=list)
    charges: list[Pair] = field(default_factory=list)  # in (partition, offset, index) order
    repeats: list[Repeat] = field(default_factory=list)  # said to be duplicates, by whomever
    accounts: dict[str, Account] = field(default_factory=dict)
    debits: list[Debit] = field(default_factory=list)
    debited: list[Pair] = field(default_factory=list)  # the charge of each debit
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
    work.charges = [(charge, applied) for applied in work.applied for charge in applied.charges]
    for applied in work.applied:
        work.letter_rows += [letter_row(applied, entry) for entry in applied.letters]
        work.repeats += duplicates_of(applied)


async def check_customers(work: Work) -> None:
    """Refuse events of customers that are unknown or have left, and rows that cannot be built."""
    customers = {charge.entry["event"]["customer_id"] for charge, _ in work.charges}
    if not customers:
        return
    rows = await work.fetch("find_customers", {"customers": list(customers)})
    known = {row[0] for row in rows}
    kept = []
    for pair in work.charges:
        charge = pair[0]
        if charge.refusal is not None:
            _refuse(work, pair, Reason.REFUSED_BY_DATABASE, charge.refusal)
        elif charge.entry["event"]["customer_id"] not in known:
            _refuse(work, pair, Reason.UNKNOWN_CUSTOMER, "no such customer, or it has left")
        else:
            kept.append(pair)
    work.charges = kept


async def copy_events(work: Work) -> None:
    """Write the UsageEvent rows; what is charged already is a conflict, what fails a letter."""
    work.charges = await _copy_charges(work, work.charges)


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
                    [charge.row + copy_rows.epoch_field(batch.epoch) for charge, batch in pairs],
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


async def _without_conflicts(work: Work, pairs: list[Pair]) -> list[Pair]:
    """Drop the events that are charged already, or twice among these, and remember of what."""
    charged = await _find_charged(work, [charge.entry["event"] for charge, _ in pairs])
    here: dict[tuple[str, str, str], tuple[int, int, int]] = {}
    kept = []
    for number, pair in enumerate(pairs, start=1):
        event, entry = pair[0].entry["event"], pair[0].entry
        identities = [(event["customer_id"], "id", event["event_id"])]
        if "idempotency_key" in event:
            identities.append((event["customer_id"], "key", event["idempotency_key"]))
        original = charged.get(number) or next(
            (here[identity] for identity in identities if identity in here), None
        )
        if original is not None:
            pair[1].conflicts += 1
            work.repeats.append(Repeat(pair[1], entry, original, "conflict"))
            continue
        position = (pair[1].partition, entry["offset"], entry["index"])
        here |= dict.fromkeys(identities, position)
        kept.append(pair)
    return kept


async def _find_charged(
    work: Work, events: Sequence[UsageEvent]
) -> dict[int, tuple[int, int, int]]:
    """Return where the charged event stands that shares an identity, by the number (from 1)."""
    rows = await work.fetch(
        "find_charged",
        {
            "customers": [event["customer_id"] for event in events],
            "ids": [event["event_id"] for event in events],
            "keys": [event.get("idempotency_key") for event in events],
        },
    )
    return {number: (partition, offset, index) for number, partition, offset, index in rows}


async def lock_wallets(work: Work) -> None:
    """Find, or make, the wallet of each event that costs something, and lock them in id order."""
    work.debited = [pair for pair in work.charges if pair[0].entry["credits"] > 0]
    if not work.debited:
        return
    wallets = await _choose_wallets(work)
    work.debits = [
        Debit(wallet, event["customer_id"], event["event_id"], charge.entry["credits"])
        for wallet, (charge, _) in zip(wallets, work.debited, strict=True)
        for event in (charge.entry["event"],)
    ]
    ids = sorted(set(wallets))
    rows = await work.fetch("lock_wallets", {"wallets": ids})
    if len(rows) < len(ids):
        raise SerializationFailure("a wallet was deleted while it was waited for")
    work.accounts = {row[0]: Account(row[1], row[2], None) for row in rows}


async def _choose_wallets(work: Work) -> list[str]:
    """Return the wallet id of each debited event; customers without any get one."""
    events = [charge.entry["event"] for charge, _ in work.debited]
    wanted = {
        "customers": list({event["customer_id"] for event in events}),
        "teams": list({event["team_id"] for event in events if "team_id" in event}),
        "users": list({event["user_id"] for event in events if "user_id" in event}),
    }
    # A wallet of that name may be somebody else's; then ours gets one of its own.
    suffixes = iter(("", f"_{uuid4().hex}"))
    while True:
        rows = await work.fetch("find_wallets", wanted)
        by_scope = wallets_by_scope(Wallet(*row) for row in rows)
        found = [
            choose_wallet(by_scope, one["customer_id"], one.get("user_id"), one.get("team_id"))
            for one in events
        ]
        chosen = [wallet for wallet in found if wallet is not None]
        if len(chosen) == len(found):
            return chosen
        without = [e["customer_id"] for e, wallet in zip(events, found, strict=True) if not wallet]
        await work.connection.execute(
            statement("create_wallets"),
            {"prefix": "wallet_", "suffix": next(suffixes), "customers": list(set(without))},
        )


async def copy_transactions(work: Work) -> None:
    """Write a ledger row per debit, each wallet's chain going on from its newest row."""
    if not work.debits:
        return
    seqs = [account.last_seq for account in work.accounts.values()]
    rows = await work.fetch("chain_ends", {"wallets": list(work.accounts), "seqs": seqs})
    now = copy_rows.microseconds(rows[0][0])
    for _, wallet, created_at in rows:
        if created_at is not None:
            work.accounts[wallet].last_created_at = copy_rows.microseconds(created_at)
    burns = burn(work.accounts, work.debits, now)
    if burns.refused:
        await _remove(work, [work.debited[number] for number in burns.refused])
    await copy_bytes(
        work.connection,
        copy_rows.COPY_CREDIT_TRANSACTIONS,
        copy_rows.burn_rows(
            burns.rows, time.time_ns() // 1_000_000, os.urandom(10 * len(work.debits))
        ),
    )


async def _remove(work: Work, pairs: list[Pair]) -> None:
    """Take back the rows of events that no wallet can pay."""
    events = [charge.entry["event"] for charge, _ in pairs]
    await work.connection.execute(
        statement("remove_events"),
        {
            "customers": [event["customer_id"] for event in events],
            "ids": [event["event_id"] for event in events],
        },
    )
    refused = {id(charge) for charge, _ in pairs}
    work.charges = [pair for pair in work.charges if id(pair[0]) not in refused]
    for pair in pairs:
        _refuse(work, pair, Reason.REFUSED_BY_DATABASE, "the wallet's balance cannot go lower")


async def update_wallets(work: Work) -> None:
    """Set each wallet's balance and the place of its newest ledger row."""
    if work.accounts:
        await work.connection.execute(
            statement("update_wallets"),
            {
                "wallets": list(work.accounts),
                "balances": [account.balance for account in work.accounts.values()],
                "seqs": [account.last_seq for account in work.accounts.values()],
            },
        )


async def verify_duplicates(work: Work) -> None:
    """Believe in no duplicate whose id or key is not charged: it becomes a dead letter.

    What it was called a duplicate of may itself have been a conflict, or refused. Everything that
    this transaction charges is written by now; where another sink charges an identity of it at this
    moment, the letter's replay is a conflict, which costs no more than the way.
    """
    if not work.repeats:
        return
    charged = await _find_charged(work, [repeat.event for repeat in work.repeats])
    proven = []
    for number, repeat in enumerate(work.repeats, start=1):
        if number in charged:
            proven.append(repeat)
            continue
        applied = repeat.applied
        if repeat.found_by == "conflict":
            applied.conflicts -= 1
            applied.refused += 1
        else:
            applied.unproven += 1
        reason = Reason.ORIGINAL_NOT_CHARGED
        work.letter_rows.append(refusal_row(applied, repeat.entry, reason, repeat.complaint))
    work.repeats = proven


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
        [duplicate_row(repeat) for repeat in work.repeats],
    )
    await _close_letters(work)


async def _close_letters(work: Work) -> None:
    """Close letters of the events that were charged; anybody may name any letter."""
    replays = [(charge.entry["event"], charge.entry.get("replay_of")) for charge, _ in work.charges]
    replays += [(repeat.event, repeat.replay_of) for repeat in work.repeats]
    closed = [
        (event, position)
        for event, replay_of in replays
        if replay_of is not None and (position := _position(replay_of)) is not None
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

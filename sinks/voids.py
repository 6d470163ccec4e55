"""Corrections in the sink's transaction: what each undoes, once, and what is given back for it.

The event that a correction brought is charged like any other; what it names is undone in the same
transaction, or the correction becomes a letter as a whole. See ADR 0023.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from psycopg.errors import SerializationFailure

from schemas.corrections import correction_of
from schemas.dead_letter import Reason
from sinks.copy_rows import moment
from sinks.outcome_rows import refusal_row
from sinks.rated_values import Voids
from sinks.reversals import Entry, reverse
from sinks.statements import statement
from sinks.transaction import Pair, Voided, Work, remove

KEY_PREFIX = "void:"
NOT_CHARGED = "no such event is charged: replay this letter when it is"
ALREADY_VOIDED = "the event is voided already: name the one that took its place"
REPLACEMENT_IS_CHARGED = (
    "the new event's id or key is charged already, so nothing would take the place of what is"
    " voided: give it another"
)
# A burn is written within its event's transaction; longer ones are looked for without a bound.
_BURN_SECONDS = 3_600


async def void_events(work: Work) -> None:
    """Mark what corrections undo; one that cannot be applied is taken back, a letter of it all."""
    if not any(applied.record.batch.has_corrections for applied in work.applied):
        return
    pairs = [pair for pair in work.charges if pair[0].voids is not None]
    if pairs:
        found = await _find_originals(work, [_void(pair) for pair in pairs])
        known = [pairs[number] for number in found]
        ours = await _mark(work, known)
        work.voided = [
            Voided(_void(pair).customer_id, _void(pair).event_id, created_at, credits_, pair)
            for pair, (created_at, credits_) in zip(known, found.values(), strict=True)
            if pair[0].event_id in ours
        ]
        unknown = [pair for number, pair in enumerate(pairs) if number not in found]
        await take_back(work, unknown, NOT_CHARGED)
        refused = [pair for pair in known if pair[0].event_id not in ours]
        await take_back(work, refused, ALREADY_VOIDED)
    await _verify_repeats(work)


async def take_back(work: Work, pairs: Sequence[Pair], message: str) -> None:
    """Charge events after all not, undo nothing for them, and nothing of them: letters, all."""
    while pairs:
        await remove(work, pairs, message)
        gone = {(charge.customer_id, charge.event_id) for charge, _ in pairs}
        if work.voided:
            await work.connection.execute(
                statement("unvoid_events"),
                {
                    "customers": [customer for customer, _ in gone],
                    "voided_by": [UUID(bytes=event_id) for _, event_id in gone],
                },
            )
        work.voided = [one for one in work.voided if _own(one) not in gone]
        pairs = [
            one.by for one in work.voided if (one.customer_id, UUID(one.event_id).bytes) in gone
        ]
        message = NOT_CHARGED


def _own(voided: Voided) -> tuple[str, bytes]:
    charge, _ = voided.by
    return charge.customer_id, charge.event_id


async def _find_originals(work: Work, voids: Sequence[Voids]) -> dict[int, tuple[datetime, int]]:
    """Return time and credits of the charged events that are named, by number, from 0."""
    rows = await work.fetch(
        "find_originals",
        {
            "customers": [void.customer_id for void in voids],
            "ids": [void.event_id for void in voids],
        },
    )
    return {number - 1: (created_at, credits_) for number, created_at, credits_ in sorted(rows)}


async def _mark(work: Work, pairs: Sequence[Pair]) -> set[bytes]:
    """Return the ids, as 16 bytes, of the events whose corrections have voided what they name."""
    if not pairs:
        return set()
    voids = [_void(pair) for pair in pairs]
    entries = [pair[0].entry for pair in pairs]
    rows = await work.fetch(
        "void_events",
        {
            "customers": [void.customer_id for void in voids],
            "ids": [void.event_id for void in voids],
            "voided_by": [entry["event"]["event_id"] for entry in entries],
            "are_replaced": [
                correction_of(entry["voids"], entry["event"]).event is not None for entry in entries
            ],
            "reasons": [void.reason for void in voids],
            "requested_by": [void.requested_by for void in voids],
        },
    )
    return {voided_by.bytes for (voided_by,) in rows}


def _void(pair: Pair) -> Voids:
    void = pair[0].voids
    if void is None:
        raise AssertionError("a charge that voids nothing")
    return void


async def _verify_repeats(work: Work) -> None:
    """A correction whose event is charged has been applied, or has another's id or key."""
    entries: list[Any] = [one.entry for one in work.repeats]
    repeats = [one for one, entry in zip(work.repeats, entries, strict=True) if "voids" in entry]
    if not repeats:
        return
    voids = [Voids(**entry["voids"]) for entry in entries if "voids" in entry]
    rows = await work.fetch(
        "find_voided",
        {
            "customers": [void.customer_id for void in voids],
            "ids": [void.event_id for void in voids],
        },
    )
    done = {voided_by for (voided_by,) in rows}
    originals = await _find_originals(work, voids)
    refused = {
        id(one): NOT_CHARGED if number not in originals else REPLACEMENT_IS_CHARGED
        for number, one in enumerate(repeats)
        if UUID(one.event["event_id"]) not in done
    }
    for one in repeats:
        if id(one) in refused:
            one.applied.conflicts -= 1
            one.applied.refused += 1
            reason = Reason.REFUSED_BY_DATABASE
            letter = refusal_row(one.applied, one.entry, reason, refused[id(one)])
            work.letter_rows.append(letter)
    work.repeats = [one for one in work.repeats if id(one) not in refused]


async def wallets_to_refund(work: Work) -> dict[str, str]:
    """Return the customers of the wallets that paid for what is voided, by wallet."""
    return {
        entry.wallet_id: voided.customer_id
        for voided in work.voided
        for entry in await _entries(work, voided)
    }


async def refund(work: Work) -> None:
    """Give back what voided events have cost; their wallets are locked, burns of now written."""
    for voided in work.voided:
        entries = await _entries(work, voided)
        if any(entry.wallet_id not in work.accounts for entry in entries):
            raise SerializationFailure("the event was corrected while its wallet was waited for")
        for row in reverse(work.accounts, entries, work.now):
            await work.connection.execute(
                statement("refund"),
                {
                    "wallet": row.wallet_id,
                    "customer": voided.customer_id,
                    "amount": row.amount,
                    "before": row.balance_before,
                    "after": row.balance_after,
                    "about": orjson.dumps({"corrects": row.transaction_id}).decode(),
                    "key": KEY_PREFIX + voided.event_id,
                    "event": voided.event_id,
                    "seq": row.wallet_seq,
                    "created_at": moment(row.created_at),
                },
            )


async def _entries(work: Work, voided: Voided) -> list[Entry]:
    asked = {
        "customer": voided.customer_id,
        "event": voided.event_id,
        "since": voided.created_at,
        "until": voided.created_at + timedelta(seconds=_BURN_SECONDS),
    }
    rows = await work.fetch("transactions_of_event", asked)
    if not rows and voided.credits:
        rows = await work.fetch("transactions_of_event", asked | {"until": None})
    return [Entry(*row) for row in rows]

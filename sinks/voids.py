"""Corrections in the sink's transaction: what each undoes, once, and what is given back for it.

The event that a correction brought is charged like any other; what it names is undone in the same
transaction, or the correction becomes a letter as a whole. See ADR 0023.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson

from schemas.corrections import correction_of
from schemas.dead_letter import Reason
from sinks.copy_rows import moment
from sinks.outcome_rows import Repeat, Row, refusal_row
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
        originals = await _originals(work, pairs)
        wanted = [pair for pair in pairs if id(pair) in originals]
        ours = await _mark(work, wanted)
        await remove(work, [pair for pair in pairs if id(pair) not in originals], NOT_CHARGED)
        refused = [pair for pair in wanted if pair[0].event_id not in ours]
        await remove(work, refused, ALREADY_VOIDED)
        work.voided = [originals[id(pair)] for pair in wanted if pair[0].event_id in ours]
    await _verify_repeats(work)


async def _originals(work: Work, pairs: Sequence[Pair]) -> dict[int, Voided]:
    named = [(_void(pair).customer_id, _void(pair).event_id) for pair in pairs]
    rows = await work.fetch(
        "find_originals",
        {"customers": [one for one, _ in named], "ids": [one for _, one in named]},
    )
    return {
        id(pairs[number - 1]): Voided(
            named[number - 1][0], named[number - 1][1], created_at, credits_
        )
        for number, created_at, credits_ in rows
    }


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
    voids = [entry.get("voids") for entry in entries]
    repeats = [(one, void) for one, void in zip(work.repeats, voids, strict=True) if void]
    if not repeats:
        return
    rows = await work.fetch(
        "find_voided",
        {
            "customers": [void["customer_id"] for _, void in repeats],
            "ids": [void["event_id"] for _, void in repeats],
        },
    )
    done = {voided_by for (voided_by,) in rows}
    for one, _ in repeats:
        if UUID(one.event["event_id"]) not in done:
            one.applied.conflicts -= 1
            one.applied.refused += 1
            work.repeats.remove(one)
            work.letter_rows.append(_refusal(one))


def _refusal(one: Repeat) -> Row:
    reason = Reason.REFUSED_BY_DATABASE
    return refusal_row(one.applied, one.entry, reason, REPLACEMENT_IS_CHARGED)


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

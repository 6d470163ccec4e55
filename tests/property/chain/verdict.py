"""What is wrong with a world: its ledger against the crash tests' model, by their own checker.

And what that checker cannot know of: verdicts by position, batches end to end, chains of wallets,
and events whose identities chain, (1, K) (1, L) (2, L). Those have no model, for what comes first
decides which of them are charged; what holds in any order is that two of them that share an
identity are not both charged, and that each shares one with a charged event, maybe itself.

Money is compared in tokens, since prices change: a row tells by which one it was charged.
"""

from collections import Counter
from collections.abc import Iterator

import orjson

from schemas.dead_letter import Position
from tests.crash import checker
from tests.property.chain.model import CHAINED, booked_as
from tests.property.chain.world import Ledger, World, identities_of

# What may be wrong as long as not everything that was sent has come.
NOT_YET = {"lost", "vanished", "wallet"}


def faults(world: World) -> Iterator[str]:
    """Yield what is wrong once everything has come, one line each: its kind, then what of it."""
    yield from checker.faults(world.model, _as_read(world.ledger))
    yield from _chain_faults(world)
    for partition, log in world.raw.items():
        if log.read(world.ledger.reached[partition].next_offset, 1):
            yield f"stuck: partition {partition} at {world.ledger.reached[partition]}"
    yield from _verdict_faults(world)
    yield from _ledger_faults(world.ledger)


def standing_faults(world: World) -> Iterator[str]:
    """Yield what is wrong at any time, whatever is still to come."""
    for fault in checker.faults(world.model, _as_read(world.ledger)):
        if fault.split(":")[0] not in NOT_YET:
            yield fault
    yield from _ledger_faults(world.ledger)


def _as_read(ledger: Ledger) -> checker.Ledger:
    """Return the ledger as the crash tests read theirs, less the events that chain."""
    read = checker.Ledger()
    rows = [row for row in ledger.rows.values() if not row.usage.startswith(CHAINED)]
    lost: Counter[str] = Counter()
    for row in rows:
        read.credits_by_event.setdefault(row.event, []).append(row.tokens)
        # Credits cancel out with those that the wallets lost, where they lost what they should.
        lost[row.customer_id] += row.tokens - row.credits
    tokens = {(row.event, row.credits): row.tokens for row in rows}
    for burn in ledger.transactions:
        event = f"{burn.customer_id} {burn.usage_event_id.lower()}"
        read.burns_by_event.setdefault(event, []).append(-tokens.get((event, burn.credits), -1))
    for wallet_id, account in ledger.accounts.items():
        lost[ledger.wallets[wallet_id].customer_id] -= account.balance
    for letter in ledger.letters.values():
        if letter.is_open:
            read.dead_letter_events |= _events_of(letter.payload)
    read.burned_by_customer = lost
    return read


def _events_of(payload: bytes) -> set[str]:
    try:
        found = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return set()
    return {booked_as(event) for event in found.get("events", [found])}


def _ledger_faults(ledger: Ledger) -> Iterator[str]:
    yield from (f"twice: {position} has two verdicts" for position in ledger.breaches)
    yield from _batch_faults(ledger)
    yield from _wallet_faults(ledger)
    for position, own in ledger.duplicates.items():
        if not any(one in ledger.charged for one in own):
            yield f"false duplicate: {position}"


def _batch_faults(ledger: Ledger) -> Iterator[str]:
    """Batches applied neither overlap nor leave a hole, epoch by epoch."""
    ends: dict[tuple[int, int], int] = {}
    for partition, epoch, first, following in ledger.batches:
        if first != ends.get((partition, epoch), 0):
            yield f"batches: {partition}:{epoch} goes on at {first}"
        ends[partition, epoch] = following


def _verdict_faults(world: World) -> Iterator[str]:
    """Every event sent has one verdict."""
    ledger = world.ledger
    for (partition, epoch, offset), events in world.places.items():
        found = {
            index
            for index in range(events + 1)
            for at in (Position(partition, epoch, offset, index),)
            if at in ledger.rows or at in ledger.duplicates or at in ledger.letters
        }
        is_quarantined = (partition, epoch, offset) in world.quarantined
        if found != set(range(events)) and not (is_quarantined and found == {0}):
            yield f"vanished: {partition}:{epoch}:{offset} of {events} has {sorted(found)}"


def _chain_faults(world: World) -> Iterator[str]:
    """Where identities chain: what is charged shares none, and with it shares what is not."""
    for event in world.chained:
        if not any(one in world.ledger.charged for one in identities_of(event)):
            yield f"lost: {event['metadata']['usage']}"
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in world.ledger.rows.values():
        if row.usage.startswith(CHAINED):
            group, number, key = row.usage.removeprefix(CHAINED).split()
            counts.update([(group, "id", number), (group, "key", key)])
    yield from (f"doubled: {one} of a chain" for one, count in counts.items() if count > 1)


def _wallet_faults(ledger: Ledger) -> Iterator[str]:
    """Chains go on without a break, and sum up to what was charged."""
    balances: dict[str, tuple[int, int, int]] = {}
    for row in ledger.transactions:
        balance, seq, ms = balances.get(row.wallet_id, (0, 0, -1))
        if (row.balance_before, row.wallet_seq) != (balance, seq + 1) or row.created_at <= ms:
            yield f"wallet: {row} after {balance}, {seq}"
        balances[row.wallet_id] = (balance - row.credits, row.wallet_seq, row.created_at)
    for wallet_id, account in ledger.accounts.items():
        if balances.get(wallet_id, (0, 0, -1))[:2] != (account.balance, account.last_seq):
            yield f"wallet: {wallet_id} is {account}"
    if -sum(one[0] for one in balances.values()) != sum(
        row.credits for row in ledger.rows.values()
    ):
        yield "wallet: the sum is not what was charged"

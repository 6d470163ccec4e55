"""Compares the ledger with the model and names every difference.

Method: after the faults comes a final read, when everything sent has been covered by the sinks.
Each usage must then have exactly one row among the ids it was sent under, with its credits and one
BURN of that amount; what cannot be charged must be an open dead letter and no row; nothing may be
booked that was never sent, or in an aborted transaction only; each wallet must have lost just what
its customer burned; a letter that was replayed must have been charged or be a letter again.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.crash.model import Model, Usage


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, and what became of its event.

    `position` and `replay_of`: partition:epoch:offset:index. `is_charged`: there is a row of its id
    or its key. `has_replay`: some outcome stands where its replay was put; None: nobody knows
    where.
    """

    position: str
    status: str
    has_identity: bool = True
    replay_of: str | None = None
    is_charged: bool = False
    has_replay: bool | None = None


@dataclass(slots=True)
class Ledger:
    """What Postgres holds: rows by event id, BURN amounts by event id, letters, wallet losses."""

    credits_by_event: dict[str, list[int]] = field(default_factory=dict)
    burns_by_event: dict[str, list[int]] = field(default_factory=dict)
    dead_letter_events: set[str] = field(default_factory=set)
    burned_by_customer: Mapping[str, int] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)


def faults(model: Model, ledger: Ledger) -> list[str]:
    """Return one line per difference; an empty list is the claim proved for this history."""
    found = [fault for usage in model.usages.values() for fault in _of_usage(usage, model, ledger)]
    known_ids = {event_id for usage in model.usages.values() for event_id in usage.event_ids}
    unknown = ledger.credits_by_event.keys() - known_ids
    found += [f"unknown: {event_id} was never sent" for event_id in sorted(unknown - model.aborted)]
    seen = unknown | ledger.dead_letter_events
    found += [f"aborted: {event_id} was not committed" for event_id in sorted(seen & model.aborted)]
    customers = {usage.customer_id for usage in model.usages.values()}
    for customer_id in sorted(customers):
        lost = ledger.burned_by_customer.get(customer_id, 0)
        if lost != model.burned(customer_id):
            found.append(f"wallet: {customer_id} lost {lost}, burned {model.burned(customer_id)}")
    return [*found, *letter_faults(ledger.letters)]


def letter_faults(letters: list[Letter]) -> list[str]:
    """Return the letters that are neither open, nor set aside, nor replayed to some end.

    A replay ends as a charge (its own, or one that it is a duplicate of), or as another letter that
    says what it replays, for which the same holds. What cannot be read as a whole has no identity:
    then something must stand where its replay was put.
    """
    again = {letter.replay_of for letter in letters}
    found = []
    for letter in letters:
        if letter.status != "REPLAYED" or letter.position in again:
            continue
        is_kept = letter.is_charged if letter.has_identity else letter.has_replay is not False
        if not is_kept:
            found.append(f"letter: {letter.position} is REPLAYED, and neither charged nor a letter")
    return found


def _of_usage(usage: Usage, model: Model, ledger: Ledger) -> Iterator[str]:
    rows = [c for one in usage.event_ids for c in ledger.credits_by_event.get(one, [])]
    burns = [-a for one in usage.event_ids for a in ledger.burns_by_event.get(one, [])]
    if usage.credits is None:
        if rows or burns:
            yield f"charged: {usage.name} cannot be charged, has {rows}"
        if usage.event_ids.isdisjoint(ledger.dead_letter_events):
            yield f"vanished: {usage.name} is no dead letter"
        return
    if not rows:
        yield f"lost: {usage.name}, sent {model.sent[usage.name]} times"
    elif len(rows) > 1:
        yield f"doubled: {usage.name} has rows {rows}"
    elif rows != [usage.credits]:
        yield f"amount: {usage.name} has {rows}, is worth {usage.credits}"
    if rows and burns != ([usage.credits] if usage.credits else []):
        yield f"burns: {usage.name} burned {burns}, is worth {usage.credits}"


def summary(found: list[str]) -> str:
    """Return the faults counted by kind, with the first few of them."""
    kinds = Counter(one.split(":")[0] for one in found)
    return "\n".join([str(dict(kinds)), *found[:20]])

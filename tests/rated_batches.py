"""Rated batches for tests, as the stream stage would have written them."""

from base64 import b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

from schemas.rated import (
    ChargedEntry,
    DeadLetterEntry,
    DuplicateEntry,
    Entry,
    Kind,
    RatedBatch,
    encode_batch,
)
from sinks.batch import RatedRecord, read_record

if TYPE_CHECKING:
    from schemas.events import UsageEvent

CUSTOMER = "cust-1"


def event_id(number: int) -> str:
    """Return a UUID that says its number."""
    return str(UUID(int=number))


def charged(
    offset: int,
    index: int = 0,
    *,
    credits_: int = 15,
    cost_usd: str = "0.015000",
    replay_of: str | None = None,
    **fields: Any,
) -> ChargedEntry:
    """Return a charged entry; `fields` are the event's own."""
    event = {
        "event_id": str(uuid4()),
        "customer_id": CUSTOMER,
        "event_type": "TOKEN_USAGE",
        "feature_id": "chat",
        "timestamp": "2025-01-17T14:30:00Z",
        "provider": "OPENAI",
        "model": "gpt-4-turbo",
        "input_tokens": 1000,
        "output_tokens": 500,
    } | fields
    entry: ChargedEntry = {
        "offset": offset,
        "index": index,
        "verdict": "charged",
        "event": cast("UsageEvent", event),
        "credits": credits_,
        "cost_usd": cost_usd,
        "price_ids": ["price-in", "price-out"],
    }
    if replay_of is not None:
        entry["replay_of"] = replay_of
    return entry


def duplicate(offset: int, of_offset: int, *, of_event: str, **fields: Any) -> DuplicateEntry:
    """Return the entry of an event that `seen` knew; `fields` are the event's own."""
    return {
        "offset": offset,
        "index": 0,
        "verdict": "duplicate",
        "event": charged(offset, event_id=of_event, **fields)["event"],
        "of_offset": of_offset,
        "of_index": 0,
    }


def dead_letter(
    offset: int, payload: bytes, *, reason: str = "NOT_JSON", message: str = "no JSON"
) -> DeadLetterEntry:
    """Return the entry of a record that is no event."""
    return {
        "offset": offset,
        "index": 0,
        "verdict": "dead-letter",
        "reason": reason,
        "message": message,
        "customer_id": None,
        "event_id": None,
        "idempotency_key": None,
        "provider": None,
        "model": None,
        "payload": b64encode(payload).decode(),
        "key": None,
    }


def batch(
    first: int,
    following: int,
    entries: Sequence[Entry] = (),
    *,
    partition: int = 0,
    broker_time: int = 1_000,
    kind: Kind = Kind.RATED,
) -> RatedBatch:
    """Return the batch [first, following); an operator's decision where `kind` says so."""
    is_decision = kind is not Kind.RATED
    return RatedBatch(
        partition=partition,
        first_offset=first,
        next_offset=following,
        price_revision=7,
        broker_times=[] if is_decision else [(first, broker_time)],
        events=list(entries),
        kind=kind,
        reason="the disk was lost" if is_decision else None,
        decided_by="ann" if is_decision else None,
    )


def record(rated_offset: int, one: RatedBatch) -> RatedRecord:
    """Return the batch as the sink reads it."""
    return read_record(rated_offset, encode_batch(one))

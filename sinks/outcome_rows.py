"""Rows of what a transaction does not charge: duplicates, dead letters, and a batch's counts. Pure.

The columns of each row stand in the order of its types in `sinks.copy_rows`.
"""

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast
from uuid import UUID

import orjson

from schemas.corrections import correction_of, encode_correction
from schemas.dead_letter import Reason
from schemas.events import UsageEvent
from schemas.rated import ChargedEntry, DeadLetterEntry, DuplicateEntry
from sinks.batch import Applied

MESSAGE_LENGTH_MAX = 2_000

Row = Sequence[Any]

_LETTER_FIELDS = ("customer_id", "event_id", "idempotency_key", "provider", "model")


@dataclass(frozen=True, slots=True)
class Repeat:
    """An event that was called a duplicate of what stands at a position: by whom is said so.

    `original`: partition, offset, index.
    """

    applied: Applied
    entry: ChargedEntry | DuplicateEntry
    original: tuple[int, int, int]
    found_by: Literal["seen", "conflict"]

    @property
    def event(self) -> UsageEvent:
        """The event itself."""
        return self.entry["event"]

    @property
    def replay_of(self) -> str | None:
        """The letter that it replays, if it does."""
        entry: Any = self.entry
        replay_of: str | None = entry.get("replay_of")
        return replay_of

    @property
    def complaint(self) -> str:
        """What is said of it when nothing charged has an identity of it."""
        partition, offset, index = self.original
        return (
            f"called a duplicate of the event at {partition}:{offset}:{index}, yet no event with"
            " its id or its key is charged"
        )


def duplicates_of(applied: Applied) -> list[Repeat]:
    """Return what the streams called duplicates."""
    return [
        Repeat(applied, one, (applied.partition, one["of_offset"], one["of_index"]), "seen")
        for one in applied.duplicates
    ]


def duplicate_row(repeat: Repeat) -> Row:
    """Return a row of DuplicateEvent."""
    event = repeat.event
    return (
        repeat.applied.partition,
        repeat.applied.epoch,
        repeat.entry["offset"],
        repeat.entry["index"],
        event["customer_id"],
        UUID(event["event_id"]),
        event.get("idempotency_key"),
        *repeat.original,
        repeat.found_by,
        repeat.replay_of,
    )


def refusal_row(
    applied: Applied, entry: ChargedEntry | DuplicateEntry, reason: Reason, message: str
) -> Row:
    """Return the letter of an event that the sink sets aside: its bytes are those validated."""
    refused: Any = entry
    event: Any = entry["event"]
    return (
        applied.partition,
        applied.epoch,
        entry["offset"],
        entry["index"],
        *(_clean(event.get(name)) for name in _LETTER_FIELDS),
        reason,
        message[:MESSAGE_LENGTH_MAX],
        _payload(entry),
        event["customer_id"].encode(),
        refused.get("replay_of"),
        "sinks",
    )


def _payload(entry: ChargedEntry | DuplicateEntry) -> bytes:
    """Return what a replay of the letter is to write: an event, or the correction that it is of."""
    void = cast("ChargedEntry", entry).get("voids")
    if void is None:
        return orjson.dumps(entry["event"])
    return encode_correction(correction_of(void, entry["event"]))


def letter_row(applied: Applied, entry: DeadLetterEntry) -> Row:
    """Return a letter as the streams wrote it."""
    fields: Any = entry
    key = entry["key"]
    return (
        applied.partition,
        applied.epoch,
        entry["offset"],
        entry["index"],
        *(_clean(fields[name]) for name in _LETTER_FIELDS),
        entry["reason"],
        _clean(entry["message"][:MESSAGE_LENGTH_MAX]),
        b64decode(entry["payload"]),
        None if key is None else b64decode(key),
        entry.get("replay_of"),
        "streams",
    )


def _clean(text: str | None) -> str | None:
    """Postgres holds no U+0000 in text, and a letter must never be refused."""
    return text if text is None else text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def batch_row(topic: str, applied: Applied) -> Row:
    """Return a row of RatedBatch, once the transaction has counted."""
    batch = applied.record.batch
    return (
        topic,
        applied.partition,
        applied.epoch,
        applied.first_offset,
        applied.next_offset,
        applied.record.rated_offset,
        batch.kind,
        applied.charged,
        applied.repeated,
        applied.conflicts,
        len(applied.letters),
        applied.set_aside,
        batch.price_revision,
        batch.reason,
        batch.decided_by,
    )

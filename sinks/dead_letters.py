"""Dead letters: look them up, write them to `usage.raw` again, set them aside."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata
from psycopg.rows import class_row

from schemas.corrections import letter_headers
from schemas.dead_letter import Position, Reason, replay_key

# What to do about an open letter.
REMEDIES = {
    Reason.NOT_JSON: "the producer mends it and sends it again; discard the letter",
    Reason.BAD_SCHEMA: "the producer mends it and sends it again, same event_id; discard it here",
    Reason.TOO_MANY_EVENTS: "the producer splits it and sends it again; discard the letter",
    Reason.TIMESTAMP_OUT_OF_RANGE: "mend the producer's clock and send again, or widen "
    "TIMESTAMP_PAST_DAYS_MAX or TIMESTAMP_FUTURE_SECONDS_MAX and replay",
    Reason.UNPRICED: 'insert the price into "ProviderCost" (`burnstream seed` adds those that ship '
    "with this version); within seconds the letter replays itself",
    Reason.ORIGINAL_NOT_CHARGED: "nothing: within seconds the letter replays itself",
    Reason.QUARANTINED: "when the bug is mended: `burnstream quarantine ... --lift`, then replay",
    Reason.UNKNOWN_CUSTOMER: "`burnstream customer create`, then `burnstream dead-letters replay "
    "--all --kind UNKNOWN_CUSTOMER`",
    Reason.REFUSED_BY_DATABASE: "the letter's message says why; mend the event and send it again",
}

# A producer never gives a record up by itself.
ACK_TIMEOUT_SECONDS = 30.0


class DeadLetterError(Exception):
    """The letter is not there or is not to be handled so; the message says what to do."""


@dataclass(frozen=True)
class Letter:
    """One row of DeadLetter."""

    id: str
    partition: int
    epoch: int
    offset: int
    index: int
    customer_id: str | None
    event_id: str | None
    idempotency_key: str | None
    provider: str | None
    model: str | None
    reason: str
    message: str
    payload: bytes
    record_key: bytes | None
    status: str
    replay_of: str | None
    replayed_as: str | None
    found_by: str
    replays: int
    created_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None
    resolved_reason: str | None

    @property
    def position(self) -> Position:
        """Where the event stands in `usage.raw`."""
        return Position(self.partition, self.epoch, self.offset, self.index)

    @property
    def key(self) -> bytes | None:
        """The key of its replay."""
        return replay_key(self.customer_id, self.record_key)


_SELECT = b"""
SELECT id, partition, epoch, "offset", index, customer_id, event_id, idempotency_key, provider,
    model, reason, message, payload, record_key, status, replay_of, replayed_as, found_by, replays,
    created_at, resolved_at, resolved_by, resolved_reason
FROM "DeadLetter"
"""


def find(
    connection: psycopg.Connection[Any],
    *,
    status: str | None = "OPEN",
    reason: str | None = None,
    customer_id: str | None = None,
    limit: int = 100,
) -> list[Letter]:
    """The newest letters first; None leaves a filter out."""
    conditions = (
        b"WHERE (%(status)s::text IS NULL OR status = %(status)s) "
        b"AND (%(reason)s::text IS NULL OR reason = %(reason)s) "
        b"AND (%(customer)s::text IS NULL OR customer_id = %(customer)s) "
        b'ORDER BY created_at DESC, partition, epoch, "offset" DESC, index LIMIT %(limit)s'
    )
    values = {"status": status, "reason": reason, "customer": customer_id, "limit": limit}
    with connection.cursor(row_factory=class_row(Letter)) as cursor:
        return cursor.execute(_SELECT + conditions, values).fetchall()


def get(connection: psycopg.Connection[Any], ids: Sequence[str]) -> list[Letter]:
    """The named letters, in their order. Raises DeadLetterError when one is not there."""
    with connection.cursor(row_factory=class_row(Letter)) as cursor:
        found = cursor.execute(_SELECT + b"WHERE id = ANY(%s)", [list(ids)]).fetchall()
    by_id = {letter.id: letter for letter in found}
    missing = [one for one in ids if one not in by_id]
    if missing:
        raise DeadLetterError(f"there is no dead letter {', '.join(missing)}")
    return [by_id[one] for one in dict.fromkeys(ids)]


async def replay(
    connection: psycopg.Connection[Any],
    producer: AIOKafkaProducer,
    raw_topic: str,
    letters: Sequence[Letter],
    *,
    by: str,
    reason: str | None = None,
    watch: Callable[[Iterable[Letter]], Iterable[Letter]] = iter,
) -> list[str | None]:
    """Write each letter's bytes, as they were, to `usage.raw`; return where Kafka put them.

    None stands for a record that Kafka has, without saying where (see `place_of`). `watch` hands
    the letters on one by one and sees how far it is.

    A letter is marked only after Kafka's acknowledgement: a crash in between replays it once more,
    which is harmless, because Postgres charges it once. One that somebody discards in between stays
    discarded, and says by its `replays` and `replayed_as` that its bytes were on their way.

    Raises:
        DeadLetterError: letters were discarded, before (then nothing was written) or meanwhile.
        TimeoutError, aiokafka.errors.KafkaError: not acknowledged; the letters before are marked.
    """
    discarded = [letter.id for letter in letters if letter.status == "DISCARDED"]
    if discarded:
        raise DeadLetterError(f"discarded, not replayed: {', '.join(discarded)}")
    places: list[str | None] = []
    too_late: list[str] = []
    for letter in watch(letters):
        sending = await producer.send(
            raw_topic,
            value=letter.payload,
            key=letter.key,
            headers=letter_headers(letter.position, letter.payload),
        )
        # Shielded: a cancelled wait must not cancel the producer's own future.
        record = await asyncio.wait_for(asyncio.shield(sending), ACK_TIMEOUT_SECONDS)
        place = place_of(record)
        if _mark_replayed(connection, letter, place, by, reason) == "DISCARDED":
            too_late.append(f"{letter.id} (replayed as {place})")
        places.append(place)
    if too_late:
        raise DeadLetterError(
            f"discarded by somebody while they were replayed: {', '.join(too_late)}; what stands "
            f"in {raw_topic} is charged all the same"
        )
    return places


def place_of(record: RecordMetadata) -> str | None:
    """Return "partition:offset"; None when the broker had the record already, and forgot where."""
    return None if record.offset < 0 else f"{record.partition}:{record.offset}"


def _mark_replayed(
    connection: psycopg.Connection[Any],
    letter: Letter,
    place: str | None,
    by: str,
    reason: str | None,
) -> str | None:
    """Return the letter's status then; None when its row is gone."""
    with connection.transaction():
        cursor = connection.execute(
            'UPDATE "DeadLetter" SET replays = replays + 1, replayed_as = %(place)s, '
            "status = CASE status WHEN 'DISCARDED' THEN status ELSE 'REPLAYED' END, "
            "resolved_at = CASE status WHEN 'DISCARDED' THEN resolved_at ELSE now() END, "
            "resolved_by = CASE status WHEN 'DISCARDED' THEN resolved_by ELSE %(by)s END, "
            "resolved_reason = CASE status WHEN 'DISCARDED' THEN resolved_reason "
            "ELSE %(reason)s END WHERE id = %(id)s RETURNING status",
            {"place": place, "by": by, "reason": reason, "id": letter.id},
        )
        row = cursor.fetchone()
    return None if row is None else str(row[0])


def discard(
    connection: psycopg.Connection[Any], letters: Sequence[Letter], *, by: str, reason: str
) -> int:
    """Set open letters aside for good, saying why; return how many were open."""
    with connection.transaction():
        cursor = connection.execute(
            "UPDATE \"DeadLetter\" SET status = 'DISCARDED', resolved_at = now(), "
            "resolved_by = %s, resolved_reason = %s WHERE id = ANY(%s) AND status = 'OPEN'",
            [by, reason, [letter.id for letter in letters]],
        )
    return cursor.rowcount

"""What became of a batch or an event, from Postgres alone, for the customer who asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aiohttp import web

from gateway.errors import UnavailableError
from gateway.postgres import Postgres, Row
from schemas.batch_id import PREFIX, BatchPositions, decode_batch_id, encode_batch_id

PARTITION_MAX = 2**31 - 1
OFFSET_MAX = 2**63 - 1
LETTERS_SHOWN_MAX = 100
# A batch's rows are written in one transaction: a look-up bounded by its time reads little.
_SLACK_OF_EVENTS = timedelta(seconds=1)  # they carry the transaction's own time, as the batch does
_SLACK_OF_BURNS = timedelta(seconds=10)  # theirs rises along the wallet's chain

_FIND_KEY_OF_IDS = """SELECT value FROM "ServerSecret" WHERE name = 'batch_id'"""

_REACHED = """
SELECT epoch, next_offset FROM "SinkOffset" WHERE topic = %(topic)s AND partition = %(partition)s
"""

_APPLIED_AT = """
SELECT min(applied.created_at) - %(slack)s AS since, max(applied.created_at) + %(slack)s AS until
FROM unnest(%(offsets)s::bigint[]) AS wanted(place), LATERAL (
    SELECT created_at FROM "RatedBatch"
    WHERE topic = %(topic)s AND partition = %(partition)s AND epoch = %(epoch)s
        AND first_offset <= wanted.place
    ORDER BY first_offset DESC LIMIT 1
) AS applied
"""

_CHARGED = """
SELECT count(*) AS events, coalesce(sum(credits_burned), 0)::bigint AS credits
FROM "UsageEvent"
WHERE customer_id = %(customer)s AND source_partition = %(partition)s
    AND source_epoch = %(epoch)s AND source_offset = ANY(%(offsets)s::bigint[])
    AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR created_at <= %(until)s)
"""

_DUPLICATES = """
SELECT count(*) AS events FROM "DuplicateEvent"
WHERE partition = %(partition)s AND epoch = %(epoch)s
    AND "offset" = ANY(%(offsets)s::bigint[]) AND customer_id = %(customer)s
"""

# A record that could not be read names no customer; its key does.
_LETTERS = """
SELECT id, event_id, reason, message, status, customer_id IS NULL AS is_whole_record
FROM "DeadLetter"
WHERE partition = %(partition)s AND epoch = %(epoch)s
    AND "offset" = ANY(%(offsets)s::bigint[])
    AND (customer_id = %(customer)s OR (customer_id IS NULL AND record_key = %(key)s))
ORDER BY "offset", index
"""

_EVENT = """
SELECT id::text AS event_id, credits_burned, cost_usd, "timestamp", created_at,
    source_partition AS partition, source_epoch AS epoch, source_offset AS "offset",
    source_index AS index
FROM "UsageEvent" WHERE customer_id = %(customer)s AND id = %(event)s::uuid
"""

_BURN = """
SELECT id, wallet_id, amount, balance_before, balance_after, created_at
FROM "CreditTransaction"
WHERE customer_id = %(customer)s AND usage_event_id = %(event)s::uuid
    AND transaction_type = 'BURN' AND idempotency_key IS NULL -- else a correction
    AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR created_at <= %(until)s)
LIMIT 1
"""

_VOIDED = """
SELECT voided_by::text, is_replaced, reason, created_at
FROM "VoidedEvent" WHERE customer_id = %(customer)s AND event_id = %(event)s::uuid
"""

_DUPLICATE_EVENT = """
SELECT partition, epoch, "offset", index, idempotency_key, of_partition, of_offset, of_index
FROM "DuplicateEvent" WHERE customer_id = %(customer)s AND event_id = %(event)s::uuid
ORDER BY created_at, partition, "offset", index LIMIT 1
"""

_LETTERS_OF_EVENT = """
SELECT id, reason, message, status, partition, epoch, "offset", index
FROM "DeadLetter"
WHERE event_id = ANY(%(spellings)s) AND customer_id = %(customer)s
ORDER BY (status = 'OPEN') DESC, created_at DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class _Counts:
    charged: int
    credits: int
    duplicates: int
    letters: list[Row]

    @property
    def found(self) -> int:
        """How many events have an outcome that can be counted."""
        return self.charged + self.duplicates + len(self.letters)


class BatchIds:
    """Makes and reads batch ids with this installation's secret, read when first needed."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._secret: bytes | None = None

    async def secret(self) -> bytes:
        """Return the secret. Raises UnavailableError while Postgres is away and it is not known."""
        if self._secret is None:
            rows = await self._postgres.fetch(_FIND_KEY_OF_IDS)
            if not rows:
                raise UnavailableError(
                    "database", "ServerSecret lacks its row: run `burnstream migrate`"
                )
            self._secret = str(rows[0]["value"]).encode()
        return self._secret

    async def encode(self, customer_id: str, positions: BatchPositions) -> str:
        """Return the id that tells this customer, and only them, what became of the events."""
        return encode_batch_id(await self.secret(), customer_id, positions)

    async def decode(self, customer_id: str, text: str) -> BatchPositions | None:
        """Return where a batch stands; None when this customer was never given that id."""
        return decode_batch_id(await self.secret(), customer_id, text)


BATCH_IDS = web.AppKey("batch_ids", BatchIds)


async def batch_status(
    postgres: Postgres, batch_ids: BatchIds, raw_topic: str, customer_id: str, batch_id: str
) -> dict[str, Any] | None:
    """Return what became of a batch, None when it is none of the caller's.

    `batch_id` as answered to an ingest request, or "partition:offset" of a record that a producer
    wrote itself; then only the caller's own events of it are told of.
    """
    is_position = not batch_id.startswith(PREFIX)
    positions = (
        parse_position(batch_id) if is_position else await batch_ids.decode(customer_id, batch_id)
    )
    if positions is None or not positions.offsets:
        return None
    place = {"topic": raw_topic, "partition": positions.partition}
    reached = await postgres.fetch(_REACHED, place)
    if not reached and is_position:
        return None
    head = (
        {"batch_id": batch_id}
        if is_position
        else {"batch_id": batch_id, "events": positions.events}
    )
    if not reached or max(positions.offsets) >= reached[0]["next_offset"]:
        return head | {"status": "queued"}
    values = place | {
        "epoch": reached[0]["epoch"],
        "offsets": list(positions.offsets),
        "customer": customer_id,
        "key": customer_id.encode(),
    }
    counts = await _count(postgres, values, positions.events)
    if is_position and counts.found == 0:
        return None
    return head | _committed(counts, positions.events)


def parse_position(text: str) -> BatchPositions | None:
    """Read "partition:offset"; None when it is not that. The number of events is not known: 0."""
    parts = text.split(":")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):  # noqa: PLR2004 -- a pair
        return None
    # Longer than any offset; int() of a very long text takes long.
    if max(map(len, parts)) > len(str(OFFSET_MAX)):
        return None
    partition, offset = map(int, parts)
    if partition > PARTITION_MAX or offset > OFFSET_MAX:
        return None
    return BatchPositions(partition, (offset,), 0)


async def _count(postgres: Postgres, values: Mapping[str, Any], events: int) -> _Counts:
    bounds = (await postgres.fetch(_APPLIED_AT, {**values, "slack": _SLACK_OF_EVENTS}))[0]
    duplicates = (await postgres.fetch(_DUPLICATES, values))[0]["events"]
    letters = await postgres.fetch(_LETTERS, values)
    charged = (await postgres.fetch(_CHARGED, {**values, **bounds}))[0]
    counts = _Counts(charged["events"], charged["credits"], duplicates, letters)
    is_whole = any(letter["is_whole_record"] for letter in letters)
    if counts.found >= max(events, 1) or is_whole:
        return counts
    # The rows carry other times than their batch (a restored table): look everywhere.
    charged = (await postgres.fetch(_CHARGED, {**values, "since": None, "until": None}))[0]
    return _Counts(charged["events"], charged["credits"], duplicates, letters)


def _committed(counts: _Counts, events: int) -> dict[str, Any]:
    dead_letters = len(counts.letters)
    if any(letter["is_whole_record"] for letter in counts.letters):
        # One letter stands for every event of its record.
        dead_letters = max(dead_letters, events - counts.charged - counts.duplicates)
    return {
        "status": "committed",
        "events": events or counts.found,
        "outcomes": {
            "charged": counts.charged,
            "duplicate": counts.duplicates,
            "dead_letter": dead_letters,
        },
        "credits_burned": counts.credits,
        "dead_letters": [
            {name: letter[name] for name in ("id", "event_id", "reason", "message", "status")}
            for letter in counts.letters[:LETTERS_SHOWN_MAX]
        ],
    }


async def event_status(
    postgres: Postgres, customer_id: str, event_id: str
) -> dict[str, Any] | None:
    """Return what became of an event of the caller's; None when nothing is known of it (yet).

    `event_id` must be a UUID. Charged wins over a dead letter that waits, that over a duplicate.
    """
    values = {
        "customer": customer_id,
        "event": event_id,
        "spellings": list({event_id, event_id.lower()}),
    }
    charged = await postgres.fetch(_EVENT, values)
    if charged:
        return await _charged_event(postgres, charged[0], values)
    letters = await postgres.fetch(_LETTERS_OF_EVENT, values)
    duplicates = await postgres.fetch(_DUPLICATE_EVENT, values)
    head = {"event_id": event_id.lower()}
    if letters and (letters[0]["status"] == "OPEN" or not duplicates):
        letter = letters[0]
        named = {name: letter[name] for name in ("id", "reason", "message", "status")}
        return head | {"status": "dead_letter", "source": _source(letter), "dead_letter": named}
    if duplicates:
        return head | {
            "status": "duplicate",
            "source": _source(duplicates[0]),
            "duplicate_of": _first_of(duplicates[0]),
            "idempotency_key": duplicates[0]["idempotency_key"],
        }
    return None


async def _charged_event(
    postgres: Postgres, event: Row, values: Mapping[str, Any]
) -> dict[str, Any]:
    bounds = {
        "since": event["created_at"] - _SLACK_OF_BURNS,
        "until": event["created_at"] + _SLACK_OF_BURNS,
    }
    burns = await postgres.fetch(_BURN, {**values, **bounds})
    if not burns and event["credits_burned"] > 0:
        burns = await postgres.fetch(_BURN, {**values, "since": None, "until": None})
    voided = await postgres.fetch(_VOIDED, values)
    return {
        "event_id": event["event_id"],
        "status": "charged",
        "credits": event["credits_burned"],
        "cost_usd": format(event["cost_usd"], "f"),
        "timestamp": event["timestamp"],
        "source": _source(event),
        # Events that cost nothing have none.
        "transaction": burns[0] if burns else None,
        **({"voided": voided[0]} if voided else {}),
    }


def _source(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ("partition", "epoch", "offset", "index")}


def _first_of(row: Row) -> dict[str, Any] | None:
    """Return where the first one stands, None when only the database knew that there is one."""
    if row["of_offset"] is None:
        return None
    return {
        "partition": row["of_partition"],
        "offset": row["of_offset"],
        "index": row["of_index"],
    }

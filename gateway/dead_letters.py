"""A customer's own dead letters: listed, and written to `usage.raw` again."""

import asyncio
import base64
from collections.abc import Sequence
from typing import Any

import orjson

from gateway import metrics
from gateway.errors import UnavailableError
from gateway.postgres import Postgres, Row
from gateway.producer import RawProducer, RecordRefusedError
from schemas.corrections import letter_headers
from schemas.dead_letter import Position

LISTED_MAX = 100
REPLAYED_MAX = 1000
# Payloads are as large as records may be; so many are held at once.
_CHUNK = 20
_SHOWN_BYTES_MAX = 65_536

_COUNT = """
SELECT count(*) AS active FROM "DeadLetter" WHERE customer_id = %(customer)s AND status = 'OPEN'
"""

_LIST = """
SELECT id, partition, epoch, "offset", index, event_id, reason, message, created_at,
    octet_length(payload) AS size,
    CASE WHEN octet_length(payload) <= %(shown)s THEN payload END AS payload
FROM "DeadLetter" WHERE customer_id = %(customer)s AND status = 'OPEN'
ORDER BY created_at, id LIMIT %(limit)s
"""

_IDS = """
SELECT id FROM "DeadLetter"
WHERE customer_id = %(customer)s AND status = 'OPEN'
    AND (%(ids)s::text[] IS NULL OR id = ANY(%(ids)s))
ORDER BY created_at, id LIMIT %(limit)s
"""

_PAYLOADS = """
SELECT id, partition, epoch, "offset", index, payload FROM "DeadLetter"
WHERE id = ANY(%(ids)s) AND customer_id = %(customer)s AND status = 'OPEN'
"""

# What an operator discarded meanwhile stays so, and says that its bytes were on their way.
_MARK = """
UPDATE "DeadLetter" AS letter
SET replays = replays + 1, replayed_as = done.place,
    status = CASE status WHEN 'DISCARDED' THEN status ELSE 'REPLAYED' END,
    resolved_at = CASE status WHEN 'DISCARDED' THEN resolved_at ELSE now() END,
    resolved_by = CASE status WHEN 'DISCARDED' THEN resolved_by ELSE %(by)s END
FROM unnest(%(ids)s::text[], %(places)s::text[]) AS done(id, place)
WHERE letter.id = done.id AND letter.customer_id = %(customer)s
"""


async def list_open(postgres: Postgres, customer_id: str) -> dict[str, Any]:
    """Return the caller's open letters, the oldest first, and how many there are."""
    values = {"customer": customer_id, "limit": LISTED_MAX, "shown": _SHOWN_BYTES_MAX}
    rows = await postgres.fetch(_LIST, values)
    count = await postgres.fetch(_COUNT, values)
    return {"counts": {"active": count[0]["active"]}, "items": [_item(row) for row in rows]}


def _item(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": "dlq-event",
        **_shown(row["payload"]),
        "timestamp": int(row["created_at"].timestamp() * 1000),
        "failedReason": f"{row['reason']}: {row['message']}",
        "reason": row["reason"],
        "event_id": row["event_id"],
        "bytes": row["size"],
        "source": {name: row[name] for name in ("partition", "epoch", "offset", "index")},
    }


def _shown(payload: bytes | None) -> dict[str, Any]:
    """Return the payload as JSON where it is some, else as base64; nothing of a large one."""
    if payload is None:
        return {"data": None}
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return {"data": None, "data_base64": base64.b64encode(payload).decode()}
    # The bytes themselves: numbers keep the form they came in.
    return {"data": orjson.Fragment(payload)}


async def replay(
    postgres: Postgres, producer: RawProducer, customer_id: str, ids: Sequence[str] | None
) -> dict[str, Any]:
    """Write the caller's open letters (the oldest ones, or those named) to `usage.raw` again.

    A letter is marked after Kafka has acknowledged it: a crash in between replays it once more,
    which charges nothing twice. Raises UnavailableError; what was acknowledged is marked then.
    """
    found = await postgres.fetch(
        _IDS,
        {
            "customer": customer_id,
            "ids": None if ids is None else list(ids),
            "limit": REPLAYED_MAX,
        },
    )
    wanted = [row["id"] for row in found]
    if not wanted:
        return {"message": "No jobs to replay", "count": 0}
    count, refused = 0, []
    for start in range(0, len(wanted), _CHUNK):
        chunk = {"ids": wanted[start : start + _CHUNK], "customer": customer_id}
        letters = await postgres.fetch(_PAYLOADS, chunk)
        outcomes = await asyncio.gather(
            *(_write(producer, customer_id, letter) for letter in letters), return_exceptions=True
        )
        places = {
            letter["id"]: outcome
            for letter, outcome in zip(letters, outcomes, strict=True)
            if isinstance(outcome, str)
        }
        await _mark(postgres, customer_id, places)
        count += len(places)
        for letter, outcome in zip(letters, outcomes, strict=True):
            if isinstance(outcome, RecordRefusedError):
                refused.append(letter["id"])
            elif isinstance(outcome, BaseException):
                raise outcome
    metrics.DEAD_LETTERS_REPLAYED.inc(count)
    answer: dict[str, Any] = {"message": "Jobs replayed successfully", "count": count}
    return answer | ({"refused": refused} if refused else {})


async def _write(producer: RawProducer, customer_id: str, letter: Row) -> str:
    """Write one letter's bytes as they came; return where Kafka put them."""
    origin = Position(letter["partition"], letter["epoch"], letter["offset"], letter["index"])
    written = await producer.write(
        customer_id.encode(), [letter["payload"]], letter_headers(origin, letter["payload"])
    )
    if written.offsets is None:
        # Acknowledged, but where is not known: the letter stays open, to replay it again is safe.
        raise UnavailableError("queue", "Kafka did not say where it put a dead letter")
    return f"{written.partition}:{written.offsets[0]}"


async def _mark(postgres: Postgres, customer_id: str, places: dict[str, str]) -> None:
    if places:
        await postgres.fetch(
            _MARK,
            {
                "ids": list(places),
                "places": list(places.values()),
                "customer": customer_id,
                "by": f"customer:{customer_id}",
            },
        )

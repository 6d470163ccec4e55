"""Who calls: API keys by their SHA-256, found in Postgres, remembered for half a minute.

What is not found is not remembered: a customer that was inserted a moment ago can call at once.
Without Postgres, keys verified in the last quarter of an hour go on working; others get 503.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from aiohttp import hdrs, web

from gateway import metrics
from gateway.errors import UnavailableError
from gateway.postgres import Postgres
from gateway.settings import GatewaySettings

API_KEY_HEADER = "x-api-key"
REMEMBERED_MAX = 100_000
# Keys are ours and short; a longer one need not be hashed to be refused.
API_KEY_LENGTH_MAX = 512

# Both columns are indexed. How long a previous key still holds is the database's word: its clock.
_FIND = """
SELECT id, CASE WHEN api_key_hash = %(hash)s THEN NULL
    ELSE extract(epoch FROM previous_api_key_valid_until - now())::float8 END AS seconds_left
FROM "Customer"
WHERE status = 'ACTIVE' AND (api_key_hash = %(hash)s
    OR (previous_api_key_hash = %(hash)s AND previous_api_key_valid_until > now()))
"""


@dataclass(frozen=True, slots=True)
class _Verified:
    customer_id: str
    verified_at: float
    ends_at: float  # of a previous key's overlap; infinite for a current key


def api_key_of(request: web.Request) -> str | None:
    """Return the key that a request shows, by either header; None when it shows none."""
    key = request.headers.get(API_KEY_HEADER, "")
    if not key:
        scheme, _, credentials = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        key = credentials.strip() if scheme.lower() == "bearer" else ""
    # An empty key is none, although it has a hash, too.
    return key if 0 < len(key) <= API_KEY_LENGTH_MAX else None


def hash_of(api_key: str) -> str:
    """Return SHA-256 in hex: what the database knows of a key."""
    return sha256(api_key.encode("utf-8", "surrogateescape")).hexdigest()


class Authenticator:
    """Finds the customer of an API key."""

    def __init__(
        self,
        postgres: Postgres,
        settings: GatewaySettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._postgres = postgres
        self._fresh_seconds = settings.api_key_fresh_seconds
        self._outage_seconds = settings.api_key_outage_seconds
        self._clock = clock
        self._verified: dict[str, _Verified] = {}
        self._lookups: dict[str, asyncio.Task[_Verified | None]] = {}

    def is_remembered(self, key_hash: str) -> bool:
        """Whether the key was verified lately, be it only for an outage."""
        return self._recall(key_hash, self._outage_seconds) is not None

    async def customer_of(self, key_hash: str) -> str | None:
        """Return the customer whose key this is, None when it is nobody's.

        Raises UnavailableError when Postgres is away and the key was not verified lately.
        """
        known = self._recall(key_hash, self._fresh_seconds)
        if known is not None:
            metrics.KEY_LOOKUPS.labels("cached").inc()
            return known.customer_id
        try:
            found = await self._look_up_once(key_hash)
        except UnavailableError:
            known = self._recall(key_hash, self._outage_seconds)
            metrics.KEY_LOOKUPS.labels("outage" if known else "unavailable").inc()
            if known is None:
                raise
            return known.customer_id
        metrics.KEY_LOOKUPS.labels("verified" if found else "unknown").inc()
        return found.customer_id if found else None

    def _recall(self, key_hash: str, age_max_seconds: float) -> _Verified | None:
        known = self._verified.get(key_hash)
        if known is None:
            return None
        now = self._clock()
        is_valid = now - known.verified_at < age_max_seconds and now < known.ends_at
        return known if is_valid else None

    async def _look_up_once(self, key_hash: str) -> _Verified | None:
        """Look a key up, once for all who ask at the same time."""
        task = self._lookups.get(key_hash)
        if task is None:
            task = asyncio.create_task(self._look_up(key_hash))
            self._lookups[key_hash] = task
            task.add_done_callback(lambda _: self._lookups.pop(key_hash, None))
        return await asyncio.shield(task)

    async def _look_up(self, key_hash: str) -> _Verified | None:
        asked_at = self._clock()
        rows = await self._postgres.fetch(_FIND, {"hash": key_hash})
        self._verified.pop(key_hash, None)
        if not rows:
            return None
        seconds_left = rows[0]["seconds_left"]
        found = _Verified(
            rows[0]["id"],
            verified_at=asked_at,
            ends_at=float("inf") if seconds_left is None else asked_at + seconds_left,
        )
        if len(self._verified) >= REMEMBERED_MAX:
            self._verified.pop(next(iter(self._verified)))
        self._verified[key_hash] = found
        return found


AUTHENTICATOR = web.AppKey("authenticator", Authenticator)

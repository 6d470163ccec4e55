"""Advice about duplicates: what was accepted in the last hour, kept in Redis.

Advice only. The records go to Kafka whatever is remembered here; what is charged twice and what
is not is decided downstream. A lost Redis costs nothing but the counts in the answers.
"""

from collections.abc import Sequence
from typing import cast

from aiohttp import web
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from gateway.circuit_breaker import CircuitBreaker
from gateway.settings import GatewaySettings
from schemas.identity import IDENTITY_BYTES

CONNECTIONS_MAX = 128
_FOUND = ord("1")

# One command for a batch, its identities packed in one argument: a key each would cost the client
# more than Redis. The answer is a text of 0 and 1.
_REMEMBERED = f"""
local packed, found = ARGV[1], {{}}
for at = 1, #packed, {IDENTITY_BYTES} do
    found[#found + 1] = redis.call('EXISTS', KEYS[1] .. packed:sub(at, at + {IDENTITY_BYTES - 1}))
end
return table.concat(found)
"""
_REMEMBER = f"""
local packed = ARGV[1]
for at = 1, #packed, {IDENTITY_BYTES} do
    redis.call('SET', KEYS[1] .. packed:sub(at, at + {IDENTITY_BYTES - 1}), '', 'EX', ARGV[2])
end
return ''
"""


def connect(settings: GatewaySettings) -> Redis:
    """Return a client that gives up soon and does not try twice; it connects when it is used."""
    seconds = settings.redis_timeout_milliseconds / 1000
    pool = BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=CONNECTIONS_MAX,
        timeout=seconds,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    return Redis(connection_pool=pool)


class DuplicateAdvice:
    """Remembers identities of accepted events, as long as Redis does."""

    def __init__(self, redis: Redis, settings: GatewaySettings, breaker: CircuitBreaker) -> None:
        self._prefix = f"{settings.topic_prefix}burnstream:seen:"
        self._seconds = settings.advice_seconds
        self._breaker = breaker
        self._remembered = redis.register_script(_REMEMBERED)
        self._remember = redis.register_script(_REMEMBER)

    async def remembered(self, identities: Sequence[bytes]) -> list[bool]:
        """Return which events were accepted before; all False while Redis is away."""
        answer = await self._run(self._remembered, b"".join(identities))
        if answer is None:
            return [False] * len(identities)
        return [flag == _FOUND for flag in answer]

    async def remember(self, identities: Sequence[bytes]) -> None:
        """Remember events that Kafka has acknowledged; nothing happens while Redis is away."""
        await self._run(self._remember, b"".join(identities))

    async def _run(self, script: AsyncScript, packed: bytes) -> bytes | None:
        if not self._breaker.may_try():
            return None
        try:
            answer = await script(keys=[self._prefix], args=[packed, self._seconds])
        except (RedisError, OSError, TimeoutError) as error:
            self._breaker.failed(error)
            return None
        self._breaker.succeeded()
        return cast("bytes", answer)


DUPLICATE_ADVICE = web.AppKey("duplicate_advice", DuplicateAdvice)

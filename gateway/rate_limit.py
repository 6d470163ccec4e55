"""How often anybody may ask: windows counted in Redis, or here while Redis is away."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address

from aiohttp import web
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from redis.exceptions import RedisError

from gateway.circuit_breaker import CircuitBreaker
from gateway.settings import GatewaySettings, Network

WINDOWS_REMEMBERED_MAX = 50_000
# One household or host holds a whole such network; single addresses would be no limit.
_IPV6_PREFIX_BITS = 64


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a bucket has left in its window."""

    limit: int
    count: int
    reset_seconds: int

    @property
    def is_exceeded(self) -> bool:
        """Whether the request that was just counted is one too many."""
        return self.count > self.limit

    def headers(self) -> dict[str, str]:
        """Return the headers that tell the caller."""
        found = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(0, self.limit - self.count)),
            "X-RateLimit-Reset": str(self.reset_seconds),
        }
        if self.is_exceeded:
            found["Retry-After"] = str(self.reset_seconds)
        return found


class RateLimiter:
    """Counts requests by bucket ("customer:...", "peer:...", "health:...")."""

    def __init__(
        self,
        settings: GatewaySettings,
        redis_storage: RedisStorage,
        breaker: CircuitBreaker,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = redis_storage
        self._memory = MemoryStorage()
        self._breaker = breaker
        self._clock = clock
        self._window_seconds = settings.rate_limit_window
        self._limit = settings.rate_limit_max
        self._item = RateLimitItemPerSecond(max(1, self._limit), self._window_seconds)
        self._window_ends: dict[str, float] = {}
        self._exhausted: dict[str, float] = {}

    def exhausted(self, bucket: str) -> Allowance | None:
        """Return the allowance of a bucket known to have nothing left; asks nobody."""
        ends_at = self._exhausted.get(bucket)
        if ends_at is None:
            return None
        left = ends_at - self._clock()
        if left <= 0:
            del self._exhausted[bucket]
            return None
        return Allowance(self._limit, self._limit + 1, max(1, math.ceil(left)))

    async def hit(self, bucket: str) -> Allowance | None:
        """Count a request; None when there is no limit."""
        if self._limit == 0:
            return None
        known = self.exhausted(bucket)
        if known is not None:
            return known
        count, ends_at = await self._count(self._item.key_for(bucket))
        allowance = Allowance(self._limit, count, max(1, math.ceil(ends_at - self._clock())))
        if allowance.is_exceeded:
            _remember(self._exhausted, bucket, ends_at)
        return allowance

    async def _count(self, key: str) -> tuple[int, float]:
        """Count one more and return the count and when its window ends (epoch seconds)."""
        if self._breaker.may_try():
            try:
                counted = await self._count_in(self._redis, key)
            except (RedisError, OSError, TimeoutError) as error:
                self._breaker.failed(error)
            else:
                self._breaker.succeeded()
                return counted
        return await self._count_in(self._memory, key)

    async def _count_in(self, storage: RedisStorage | MemoryStorage, key: str) -> tuple[int, float]:
        count = await storage.incr(key, self._window_seconds)
        now = self._clock()
        if count == 1:
            ends_at = now + self._window_seconds
        else:
            # The window's end does not move: it is asked for once, not with every request.
            ends_at = self._window_ends.get(key, 0.0)
            if ends_at <= now:
                ends_at = await storage.get_expiry(key)
        _remember(self._window_ends, key, ends_at)
        return int(count), ends_at


RATE_LIMITER = web.AppKey("rate_limiter", RateLimiter)


def _remember(ends: dict[str, float], key: str, ends_at: float) -> None:
    if key not in ends and len(ends) >= WINDOWS_REMEMBERED_MAX:
        ends.pop(next(iter(ends)))
    ends[key] = ends_at


def peer_of(peer: str, forwarded_for: str, trusted: tuple[Network, ...]) -> str:
    """Return the address that stands for the caller: the nearest one that is no proxy of ours.

    `X-Forwarded-For` is read from its end, as far as trusted proxies wrote it. An IPv6 address
    stands for its network of 64 bits.
    """
    nearest = peer
    for hop in reversed([part.strip() for part in forwarded_for.split(",")]):
        if not _is_trusted(nearest, trusted):
            break
        try:
            nearest = str(ip_address(hop))
        except ValueError:
            break
    return _bucket_address(nearest)


def _is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    if not trusted:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in trusted)


def _bucket_address(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped or IPv6Network((parsed.packed, _IPV6_PREFIX_BITS), strict=False))
    return str(parsed)

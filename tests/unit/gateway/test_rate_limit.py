"""Whose bucket a request falls into, and what is left of it."""

from ipaddress import ip_network

import pytest

from gateway.settings import GatewaySettings
from tests.unit.gateway.fakes import limiter_in_memory

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        pytest.param("9.9.9.9", "1.1.1.1", "9.9.9.9", id="a stranger's header is not believed"),
        pytest.param("10.0.0.1", "1.1.1.1", "1.1.1.1", id="a proxy's header is"),
        pytest.param("10.0.0.1", "", "10.0.0.1", id="a proxy for itself"),
        pytest.param("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1", id="nearest stranger"),
        pytest.param("10.0.0.1", "1.1.1.1, nonsense", "10.0.0.1", id="nonsense ends the way"),
        pytest.param("2001:db8::1", "", "2001:db8::/64", id="an IPv6 network is one peer"),
        pytest.param("::ffff:1.2.3.4", "", "1.2.3.4", id="IPv4 in IPv6"),
        pytest.param("unknown", "1.1.1.1", "unknown", id="no address"),
    ],
)
def test_peer_is_the_nearest_address_that_is_no_proxy(
    peer: str, forwarded_for: str, expected: str
) -> None:
    """Whoever forges X-Forwarded-For gains no second bucket."""
    from gateway.rate_limit import peer_of

    assert peer_of(peer, forwarded_for, PROXIES) == expected


async def test_requests_above_the_limit_are_exceeded_per_bucket() -> None:
    """A bucket is one caller's; the next caller has their own."""
    settings = GatewaySettings(_env_file=None, rate_limit_max=2, rate_limit_window=60)
    limiter = limiter_in_memory(settings)

    allowances = [await limiter.hit("peer:a") for _ in range(4)]
    other = await limiter.hit("peer:b")

    assert [one.is_exceeded for one in allowances if one] == [False, False, True, True]
    assert [one.headers()["X-RateLimit-Remaining"] for one in allowances if one] == list("1000")
    assert allowances[-1]
    assert allowances[-1].headers()["Retry-After"] == "60"
    assert other
    assert not other.is_exceeded


async def test_exhausted_bucket_is_known_without_asking() -> None:
    """Who has nothing left costs nobody a look-up."""
    settings = GatewaySettings(_env_file=None, rate_limit_max=1)
    limiter = limiter_in_memory(settings)

    assert limiter.exhausted("peer:a") is None
    await limiter.hit("peer:a")
    assert limiter.exhausted("peer:a") is None
    await limiter.hit("peer:a")
    assert limiter.exhausted("peer:a") is not None


async def test_window_begins_anew() -> None:
    """After the window's end the bucket is full again."""
    settings = GatewaySettings(_env_file=None, rate_limit_max=1, rate_limit_window=1)
    limiter = limiter_in_memory(settings)
    await limiter.hit("peer:a")
    await limiter.hit("peer:a")

    limiter._clock = lambda: 4e9
    assert limiter.exhausted("peer:a") is None


async def test_no_limit_is_no_limit() -> None:
    """RATE_LIMIT_MAX=0 switches the limit off."""
    limiter = limiter_in_memory(GatewaySettings(_env_file=None, rate_limit_max=0))

    assert await limiter.hit("peer:a") is None

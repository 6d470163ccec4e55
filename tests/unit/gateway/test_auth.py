"""API keys: remembered briefly, trusted through an outage, dead within a minute when revoked."""

import asyncio

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.auth import Authenticator, api_key_of, hash_of
from gateway.errors import UnavailableError
from gateway.settings import GatewaySettings
from tests.unit.gateway.fakes import FakePostgres

HASH = hash_of("om_test_x")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def postgres() -> FakePostgres:
    fake = FakePostgres(GatewaySettings(_env_file=None))
    fake.rows = [{"id": "cust", "seconds_left": None}]
    return fake


@pytest.fixture
def authenticator(postgres: FakePostgres, clock: Clock) -> Authenticator:
    return Authenticator(postgres, GatewaySettings(_env_file=None), clock)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"x-api-key": ""}, None),
        ({"x-api-key": "k"}, "k"),
        ({"Authorization": "Bearer k"}, "k"),
        ({"Authorization": "bearer  k "}, "k"),
        ({"Authorization": "Bearer "}, None),
        ({"Authorization": "Basic k"}, None),
        ({"x-api-key": "k", "Authorization": "Bearer other"}, "k"),
        ({"x-api-key": "k" * 513}, None),
    ],
)
def test_key_is_read_from_either_header(headers: dict[str, str], expected: str | None) -> None:
    """An empty key is none, although SHA-256 has a word for it."""
    assert api_key_of(make_mocked_request("GET", "/", headers=headers)) == expected


async def test_verified_key_is_not_looked_up_again_for_a_while(
    authenticator: Authenticator, postgres: FakePostgres, clock: Clock
) -> None:
    """Half a minute of requests costs one look-up."""
    assert await authenticator.customer_of(HASH) == "cust"
    clock.now += 29
    assert await authenticator.customer_of(HASH) == "cust"
    assert len(postgres.questions) == 1
    clock.now += 2
    await authenticator.customer_of(HASH)
    assert len(postgres.questions) == 2


async def test_revoked_key_is_dead_within_a_minute(
    authenticator: Authenticator, postgres: FakePostgres, clock: Clock
) -> None:
    """What the database no longer says is forgotten, for outages, too."""
    await authenticator.customer_of(HASH)
    postgres.rows = []
    clock.now += 60

    assert await authenticator.customer_of(HASH) is None
    postgres.is_away = True
    with pytest.raises(UnavailableError):
        await authenticator.customer_of(HASH)


async def test_unknown_key_is_not_remembered(
    authenticator: Authenticator, postgres: FakePostgres
) -> None:
    """A customer inserted a moment ago calls at once."""
    postgres.rows, found = [], postgres.rows
    assert await authenticator.customer_of(HASH) is None
    postgres.rows = found

    assert await authenticator.customer_of(HASH) == "cust"


async def test_key_verified_lately_works_through_an_outage(
    authenticator: Authenticator, postgres: FakePostgres, clock: Clock
) -> None:
    """For a quarter of an hour; after it, and for other keys, the answer is unavailable."""
    await authenticator.customer_of(HASH)
    postgres.is_away = True
    clock.now += 899

    assert await authenticator.customer_of(HASH) == "cust"
    with pytest.raises(UnavailableError):
        await authenticator.customer_of(hash_of("another"))
    clock.now += 2
    with pytest.raises(UnavailableError):
        await authenticator.customer_of(HASH)


async def test_previous_key_ends_with_its_overlap(
    authenticator: Authenticator, postgres: FakePostgres, clock: Clock
) -> None:
    """Neither the memory nor an outage carries a rotated key beyond its time."""
    postgres.rows = [{"id": "cust", "seconds_left": 10.0}]
    await authenticator.customer_of(HASH)
    postgres.is_away = True
    clock.now += 9

    assert await authenticator.customer_of(HASH) == "cust"
    clock.now += 2
    with pytest.raises(UnavailableError):
        await authenticator.customer_of(HASH)


async def test_many_requests_with_one_key_ask_once(
    authenticator: Authenticator, postgres: FakePostgres
) -> None:
    """A cold start under load does not flood the database."""
    found = await asyncio.gather(*(authenticator.customer_of(HASH) for _ in range(50)))

    assert found == ["cust"] * 50
    assert len(postgres.questions) == 1

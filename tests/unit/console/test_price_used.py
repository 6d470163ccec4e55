"""How a charge came about."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from deploy.console.price_used import PriceLine, price_lines, rate_again
from schemas.events import UsageEvent
from schemas.pricing import Rated, Unpriced

SINCE = datetime(2025, 1, 1, tzinfo=UTC)
EVENT: UsageEvent = {
    "event_id": "550e8400-e29b-41d4-a716-446655440001",
    "customer_id": "cust",
    "event_type": "TOKEN_USAGE",
    "feature_id": "f",
    "provider": "OPENAI",
    "model": "gpt",
    "input_tokens": 1_000,
    "output_tokens": 333,
    "timestamp": "2026-01-01T00:00:00Z",
}


def price(cost_type: str, cost: str, unit_size: int = 1_000_000) -> dict[str, Any]:
    """A row of ProviderCost as Postgres gives it."""
    return {
        "id": f"p-{cost_type}",
        "provider": "OPENAI",
        "model": "gpt",
        "cost_type": cost_type,
        "cost_per_unit": Decimal(cost),
        "unit_size": unit_size,
        "valid_from": SINCE,
        "valid_until": None,
        "created_at": SINCE,
        "revision": 1,
    }


PRICES = [price("INPUT_TOKEN", "5.00"), price("OUTPUT_TOKEN", "20.00")]


def test_each_price_has_its_line() -> None:
    """Amount times price, exact, as text."""
    assert price_lines(EVENT, PRICES) == [
        PriceLine("p-INPUT_TOKEN", "INPUT_TOKEN", "1000", Decimal("5.00"), 1_000_000, "0.005000"),
        PriceLine("p-OUTPUT_TOKEN", "OUTPUT_TOKEN", "333", Decimal("20.00"), 1_000_000, "0.006660"),
    ]


def test_small_costs_keep_their_digits() -> None:
    """Beyond the sixth decimal nothing is rounded away."""
    (line,) = price_lines(EVENT, [price("INPUT_TOKEN", "0.0000001", 1_000)])

    assert line.cost_usd == "0.0000001"


def test_the_same_prices_give_the_same_again() -> None:
    """Rated by the rows that it names, a charge comes to what it came to."""
    assert rate_again(EVENT, PRICES, []) == Rated(
        12, 11_660_000_000_000_000, ("p-INPUT_TOKEN", "p-OUTPUT_TOKEN")
    )


def test_a_burn_table_decides_the_credits() -> None:
    """The customer's own rates count for the credits, the provider's for the cost."""
    table = {
        "id": "bt",
        "customer_id": "cust",
        "version": 1,
        "rules": {"gpt": {"per_unit": 1, "input_tokens": 2, "output_tokens": 0}},
        "valid_from": SINCE,
        "valid_until": None,
        "created_at": SINCE,
    }

    assert rate_again(EVENT, PRICES, [table]) == Rated(
        2_000, 11_660_000_000_000_000, ("p-INPUT_TOKEN", "p-OUTPUT_TOKEN", "bt")
    )


def test_a_price_that_ended_since_is_told() -> None:
    """A price whose time was changed afterwards no longer covers the event."""
    ended = PRICES[0] | {"valid_until": datetime(2025, 6, 1, tzinfo=UTC)}

    assert isinstance(rate_again(EVENT, [ended, PRICES[1]], []), Unpriced)

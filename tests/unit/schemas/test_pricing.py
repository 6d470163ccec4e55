"""Prices and burns: exact, at the event's own time."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import pytest

from schemas.events import UsageEvent
from schemas.pricing import (
    BurnTable,
    Price,
    PriceBook,
    Rated,
    Rule,
    Unpriced,
    attodollars_from_text,
    cost_text,
    rate,
)

START = datetime(2025, 1, 1, tzinfo=UTC)
LATER = datetime(2025, 6, 1, tzinfo=UTC)


def price(
    cost_type: str = "INPUT_TOKEN",
    cost: str = "5",
    *,
    model: str = "gpt-4-turbo",
    unit_size: int = 1_000_000,
    valid_from: datetime = START,
    valid_until: datetime | None = None,
    created_at: datetime = START,
    price_id: str = "",
) -> Price:
    return Price(
        id=price_id or f"{model}-{cost_type}",
        provider="OPENAI",
        model=model,
        cost_type=cost_type,
        cost_per_unit=Decimal(cost),
        unit_size=unit_size,
        valid_from=valid_from,
        valid_until=valid_until,
        created_at=created_at,
    )


GUIDE = PriceBook(1, [price(), price("OUTPUT_TOKEN", "20")])


def event(**fields: Any) -> UsageEvent:
    return cast(
        "UsageEvent",
        {
            "event_id": "550e8400-e29b-41d4-a716-446655440001",
            "customer_id": "cust",
            "event_type": "TOKEN_USAGE",
            "feature_id": "f",
            "provider": "OPENAI",
            "model": "gpt-4-turbo",
            "timestamp": "2025-01-17T14:30:00Z",
        }
        | fields,
    )


def rated(found: Rated | Unpriced) -> tuple[int, str]:
    assert isinstance(found, Rated)
    return found.credits, cost_text(found.cost_attodollars)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        pytest.param((1000, 500), (15, "0.015000"), id="guide-0001"),
        pytest.param((2000, 1000), (30, "0.030000"), id="guide-0002"),
        pytest.param((3000, 1500), (45, "0.045000"), id="guide-0004"),
        pytest.param((0, 0), (0, "0.000000"), id="nothing-used"),
        pytest.param((1, 0), (1, "0.000005"), id="a-part-of-a-credit-is-one"),
    ],
)
def test_tokens_of_the_guide(tokens: tuple[int, int], expected: tuple[int, str]) -> None:
    """The figures that the guide prints come out."""
    assert rated(rate(event(input_tokens=tokens[0], output_tokens=tokens[1]), GUIDE)) == expected


@pytest.mark.parametrize(
    ("used", "cost", "cost_type", "credits_expected"),
    [
        pytest.param(
            {"input_tokens": 0, "output_tokens": 1100}, "10", "OUTPUT_TOKEN", 11, id="gpt-4o"
        ),
        pytest.param(
            {"event_type": "VIDEO_GENERATION", "duration_seconds": 3}, "0.10", "VIDEO", 300, id="3s"
        ),
        pytest.param(
            {"event_type": "VIDEO_GENERATION", "duration_seconds": 0.1},
            "0.10",
            "VIDEO",
            10,
            id="0.1s",
        ),
    ],
)
def test_exact_results_are_not_rounded_up(
    used: dict[str, Any], cost: str, cost_type: str, credits_expected: int
) -> None:
    """Where doubles and a ceiling charge one credit too many, we do not."""
    unit_size = 1_000_000 if cost_type == "OUTPUT_TOKEN" else 1
    book = PriceBook(1, [price(cost_type, cost, unit_size=unit_size)])

    assert rated(rate(event(**used), book))[0] == credits_expected


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"event_type": "API_CALL", "input_tokens": 5}, id="api-call"),
        pytest.param({"event_type": "FEATURE_ACCESS"}, id="feature-access"),
        pytest.param({"event_type": "CUSTOM"}, id="custom-without-units"),
        pytest.param({"event_type": "CUSTOM", "quantity": 2}, id="custom-without-unit-type"),
        pytest.param({"model": "", "input_tokens": 5}, id="no-model"),
        pytest.param({"model": "never-heard-of", "input_tokens": 0}, id="unknown-but-unused"),
    ],
)
def test_legitimately_free(fields: dict[str, Any]) -> None:
    """What costs nothing by rule needs no price."""
    assert rated(rate(event(**fields), GUIDE)) == (0, "0.000000")


def test_custom_units_cost_ten_credits_each() -> None:
    """A fraction of a unit is charged as what it is, never free."""
    used = event(event_type="CUSTOM", unit_type="page", quantity=0.25)

    assert rated(rate(used, GUIDE)) == (3, "0.002500")


def test_images_default_to_one() -> None:
    """An image event without a count made one image."""
    book = PriceBook(1, [price("IMAGE", "0.04", model="dall-e-3", unit_size=1)])

    found = rate(event(event_type="IMAGE_GENERATION", model="dall-e-3"), book)

    assert rated(found) == (40, "0.040000")


def test_no_price_is_neither_free_nor_guessed() -> None:
    """One missing side is enough; the message names it."""
    found = rate(event(input_tokens=1, output_tokens=1), PriceBook(1, [price()]))

    assert isinstance(found, Unpriced)
    assert "OUTPUT_TOKEN price for OPENAI gpt-4-turbo" in found.message


def test_a_price_is_needed_only_for_what_was_used() -> None:
    """A count of 0 asks for no price."""
    assert rated(rate(event(input_tokens=200, output_tokens=0), PriceBook(1, [price()])))[0] == 1


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        pytest.param(
            [price(valid_until=datetime(2025, 1, 17, 14, 30, tzinfo=UTC))], None, id="ended"
        ),
        pytest.param([price(valid_from=LATER)], None, id="not-yet"),
        pytest.param(
            [
                price(price_id="old"),
                price(price_id="new", valid_from=datetime(2025, 1, 2, tzinfo=UTC)),
            ],
            "new",
            id="latest-valid-from",
        ),
        pytest.param(
            [price(price_id="old"), price(price_id="new", created_at=LATER)],
            "new",
            id="latest-created",
        ),
    ],
)
def test_price_in_force_at_the_events_time(prices: list[Price], expected: str | None) -> None:
    """Latest valid_from wins, then latest created_at; valid_until is exclusive."""
    found = rate(event(input_tokens=1), PriceBook(1, prices))

    assert (found.price_ids if isinstance(found, Rated) else None) == (expected and (expected,))


def table(**rules: Rule) -> BurnTable:
    return BurnTable("own", "cust", 1, rules, START, None, START)


def test_own_burn_table_sets_the_credits_and_not_the_cost() -> None:
    """Credits by the customer's rates, USD by the provider's."""
    own = table(**{"gpt-4-turbo": Rule(1000, Decimal(5), Decimal(10))})
    book = PriceBook(1, [price(), price("OUTPUT_TOKEN", "20")], [own])

    found = rate(event(input_tokens=1000, output_tokens=500), book)

    assert rated(found) == (10, "0.015000")
    assert isinstance(found, Rated)
    assert found.price_ids[-1] == "own"


def test_burn_table_of_another_customer_or_model_does_not_count() -> None:
    """It applies where it names the model, for its customer."""
    own = table(other=Rule(1, Decimal(1), Decimal(1)))
    book = PriceBook(1, [price(), price("OUTPUT_TOKEN", "20")], [own])

    assert rated(rate(event(input_tokens=1000, output_tokens=500), book))[0] == 15


def test_cost_is_rounded_half_even_at_18_places() -> None:
    """One third of a dollar, and ties to the even neighbour."""
    third = PriceBook(1, [price(cost="1", unit_size=3)])
    tie = PriceBook(1, [price(cost="0.0000000000000000005", unit_size=1)])

    assert rated(rate(event(input_tokens=1), third))[1] == "0.333333333333333333"
    assert rated(rate(event(input_tokens=1), tie))[1] == "0.000000"
    assert rated(rate(event(input_tokens=3), tie))[1] == "0.000000000000000002"


def test_more_credits_than_a_row_can_hold_is_no_price() -> None:
    """An absurd product becomes a dead letter, not a crash."""
    assert isinstance(
        rate(event(input_tokens=2**63 - 1), PriceBook(1, [price(cost="9e9")])), Unpriced
    )


def test_cost_text_reads_back() -> None:
    """What is shown is what was counted."""
    for attodollars in (0, 1, 15_000_000_000_000_000, 123 * 10**18 + 5):
        assert attodollars_from_text(cost_text(attodollars)) == attodollars

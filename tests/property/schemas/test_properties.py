"""Properties of the pure boundary: identities, prices, folds, slices."""

import json
from array import array
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import (
    UsageEvent,
    event_slices,
    validate_each,
)
from schemas.identity import identities, identities_each
from schemas.pricing import ATTODOLLARS_PER_USD, Price, PriceBook, Rated, rate
from schemas.rated import Cover, Fold, Kind, cover, pack_fold, pack_position, unpack_fold

START = datetime(2025, 1, 1, tzinfo=UTC)
TEXT = st.text(min_size=1, max_size=8)


@given(st.tuples(TEXT, TEXT, TEXT), st.tuples(TEXT, TEXT, TEXT))
def test_identities_meet_only_for_the_same_value_of_the_same_customer(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    """No two different (customer, kind, value) share an identity."""
    by_id, by_key = identities(*one)
    other_id, other_key = identities(*other)

    assert (by_id == other_id) == ((one[0], one[1].lower()) == (other[0], other[1].lower()))
    assert (by_key == other_key) == (one[0::2] == other[0::2])
    assert by_id not in (by_key, other_key)


@given(st.lists(st.tuples(st.sampled_from("ab"), TEXT, st.none() | TEXT), max_size=8))
def test_identities_of_many_are_those_of_each(drawn: list[tuple[str, str, str | None]]) -> None:
    """Whoever stands before or after an event has no part in its identities."""
    found = identities_each(
        cast("UsageEvent", {"customer_id": customer, "event_id": event_id.lower()})
        | cast("UsageEvent", {"idempotency_key": key} if key else {})
        for customer, event_id, key in drawn
    )

    assert found == [identities(*one) for one in drawn]


@given(
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.decimals(0, 1000, places=10),
    st.decimals(0, 1000, places=10),
    st.sampled_from([1, 3, 1000, 1_000_000]),
)
def test_cost_and_credits_are_the_exact_ones_rounded_once(
    tokens_in: int, tokens_out: int, cost_in: Decimal, cost_out: Decimal, unit_size: int
) -> None:
    """Against plain rational arithmetic."""
    book = PriceBook(
        1,
        [
            Price(kind, "OPENAI", "m", kind, cost, unit_size, START, None, START)
            for kind, cost in (("INPUT_TOKEN", cost_in), ("OUTPUT_TOKEN", cost_out))
        ],
    )
    event = {
        "event_type": "TOKEN_USAGE",
        "customer_id": "c",
        "provider": "OPENAI",
        "model": "m",
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "timestamp": "2025-01-17T14:30:00Z",
    }

    found = rate(cast("UsageEvent", event), book)

    usd = (tokens_in * Fraction(cost_in) + tokens_out * Fraction(cost_out)) / unit_size
    assert isinstance(found, Rated)
    assert 0 <= found.credits - usd * 1000 < 1
    assert abs(Fraction(found.cost_attodollars, ATTODOLLARS_PER_USD) - usd) <= Fraction(
        1, 2 * ATTODOLLARS_PER_USD
    )


_DAYS = st.integers(0, 12)


@given(st.lists(st.tuples(_DAYS, st.none() | _DAYS, _DAYS), max_size=8), st.integers(-1, 13))
def test_the_price_in_force_is_the_latest_begun(
    drawn: list[tuple[int, int | None, int]], day: int
) -> None:
    """Latest valid_from wins, then latest created_at, then id; an expired one never."""
    prices = [
        Price(
            f"price-{number}",
            "OPENAI",
            "m",
            "IMAGE",
            Decimal(1),
            1,
            START + timedelta(days=begins),
            None if ends is None else START + timedelta(days=ends),
            START + timedelta(days=created),
        )
        for number, (begins, ends, created) in enumerate(drawn)
    ]
    at = START + timedelta(days=day)

    in_force = [
        price
        for price in prices
        if price.valid_from <= at and (price.valid_until is None or at < price.valid_until)
    ]
    expected = max(in_force, key=lambda p: (p.valid_from, p.created_at, p.id), default=None)
    ((part, found),) = PriceBook(1, prices).tariff("IMAGE_GENERATION", "OPENAI", "m", at).parts
    assert (part.cost_type, found) == ("IMAGE", expected)


@given(
    st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**42)), max_size=5),
    st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 999)), max_size=20),
    st.sampled_from(list(Kind)),
)
def test_fold_header_reads_back(
    times: list[tuple[int, int]], positions: list[tuple[int, int]], kind: Kind
) -> None:
    """Any range, any times, any identities."""
    packed = array("q", [pack_position(*one) for one in positions])
    fold = Fold(kind, 3, 2**40, times, packed, bytes(range(16)) * len(packed))

    assert unpack_fold(pack_fold(fold)) == fold


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), max_size=40))
def test_the_rule_of_folds_covers_every_position_once(ranges: list[tuple[int, int]]) -> None:
    """Whatever batches come in whatever order: no position twice, none skipped."""
    next_offset = 0
    covered: list[int] = []
    for first, length in ranges:
        if cover(next_offset, first, first + length) is Cover.NEXT:
            covered += range(next_offset, first + length)
            next_offset = first + length

    assert covered == list(range(next_offset))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=5), st.sampled_from([None, 1]), st.booleans())
def test_slices_are_the_events_in_order(
    events: list[Any], indent: int | None, escapes: bool
) -> None:
    """Each slice reads as its event, however the record was written."""
    record = json.dumps(
        {"a": [1, {"events": []}], "events": events, "b": "]"}, indent=indent, ensure_ascii=escapes
    ).encode()

    assert [json.loads(one) for one in event_slices(record)] == events
    assert len(validate_each(record)) == len(events)

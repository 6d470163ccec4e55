"""Which letters a form asks for."""

from datetime import UTC, datetime

import pytest

from deploy.console.letter_filter import FilterError, LetterFilter


def test_an_empty_form_asks_for_what_is_open() -> None:
    """Nothing said: all that waits for a decision."""
    assert LetterFilter.parse({}) == LetterFilter("OPEN", None, None, None, None)
    assert LetterFilter.parse({"reason": "", "customer": " ", "since": ""}) == LetterFilter()


def test_every_part_is_read() -> None:
    """Times without an offset are UTC; others are turned into it."""
    given = {
        "status": "REPLAYED",
        "reason": "UNPRICED",
        "customer": " cust-1 ",
        "since": "2026-01-31T12:00",
        "until": "2026-01-31T15:30:00+02:00",
    }

    assert LetterFilter.parse(given) == LetterFilter(
        "REPLAYED",
        "UNPRICED",
        "cust-1",
        datetime(2026, 1, 31, 12, tzinfo=UTC),
        datetime(2026, 1, 31, 13, 30, tzinfo=UTC),
    )


def test_all_is_any_status() -> None:
    """ALL leaves the status out."""
    assert LetterFilter.parse({"status": "ALL"}).status is None


@pytest.mark.parametrize(
    "wanted",
    [
        LetterFilter(),
        LetterFilter(status=None, customer="a b&c=ä"),
        LetterFilter(reason="NOT_JSON", since=datetime(2026, 1, 1, 1, 1, 1, 5, UTC)),
        LetterFilter(until=datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_what_is_written_is_read_as_the_same(wanted: LetterFilter) -> None:
    """A filter comes back from the links and hidden fields that it is written to."""
    assert LetterFilter.parse(wanted.query()) == wanted


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("status", "open"),
        ("reason", "WHATEVER"),
        ("since", "yesterday"),
        ("until", "2026-13-01"),
        ("since", "0001-01-01T00:00+23:59"),
        ("customer", "x" * 513),
        ("customer", "a\0b"),
    ],
)
def test_a_wrong_field_is_named(name: str, text: str) -> None:
    """The refusal names the field."""
    with pytest.raises(FilterError, match=f"^{name}: "):
        LetterFilter.parse({name: text})

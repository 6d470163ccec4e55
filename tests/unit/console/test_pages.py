"""How figures are shown."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from deploy.console.pages import (
    duration,
    grouped,
    hexdump,
    link,
    moment,
    per_second,
    readable,
    render,
    size,
    whole,
)


def test_money_is_shown_to_the_last_digit() -> None:
    """No figure of money passes through a float."""
    assert whole(9_007_199_254_740_993) == "9\u202f007\u202f199\u202f254\u202f740\u202f993"
    assert whole(-1_234) == "-1\u202f234"
    assert grouped(Decimal("1234.000000000000000001")) == "1\u202f234.000000000000000001"
    assert grouped(Decimal("0.0000001")) == "0.0000001"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "< 1 s"),
        (59.4, "59 s"),
        (3_600, "1 h"),
        (93_784, "1 d 2 h"),
        (3_661, "1 h 1 min"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    """The largest two that are not nothing."""
    assert duration(seconds) == text


def test_other_figures() -> None:
    """Times are UTC, rates and sizes are rounded, what is not known is a dash."""
    assert moment(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02 03:04:05"
    assert (per_second(0), per_second(2.84), per_second(1_234.5)) == (
        "0/s",
        "2.8/s",
        "1\u202f234/s",
    )
    assert (size(999), size(1_500_000)) == ("999 B", "1.5 MB")
    assert {show(None) for show in (moment, grouped, whole, per_second, duration, size)} == {
        "\N{EN DASH}"
    }


def test_bytes_are_shown_as_they_are() -> None:
    """JSON is set out, other text stays, what is no text is marked; the dump has every byte."""
    assert readable(b'{"a":[1]}') == '{\n  "a": [\n    1\n  ]\n}'
    assert readable(b"plain \xff") == "plain \ufffd"
    assert hexdump(b"\x00A\xff") == f"00000000  {'00 41 ff':<47}  .A."
    assert hexdump(b"x" * 20, bytes_max=16).endswith("... and 4 bytes more")


def test_links_leave_out_what_is_not_said() -> None:
    """None and nothing are no part of an address; the rest is quoted."""
    assert link("/event", id="a b", customer=None, other="") == "/event?id=a+b"
    assert link("/x") == "/x"


def test_what_came_from_outside_is_escaped() -> None:
    """A message of a producer's making cannot become a part of the page."""
    html = render("refusal.html", status=400, message="<script>x</script>", operator=None, path="/")

    assert "<script>x" not in html
    assert "&lt;script&gt;x" in html

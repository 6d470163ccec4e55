"""Positions of dead letters as text, and the headers of a replay."""

import pytest

from schemas.dead_letter import Position, replay_headers, replay_key


def test_position_reads_back() -> None:
    """partition:epoch:offset:index."""
    position = Position(1, 2, 3, 4)

    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1:2:3",
        "1:2:3:4:5",
        "a:b:c:d",
        "-1:0:0:0",
        "1:2:3:٣",
        "4000000000:0:5:0",
        f"0:0:{2**63}:0",
        "9" * 5_000 + ":0:0:0",
    ],
)
def test_foreign_text_is_no_position(text: str) -> None:
    """A producer may write any header; it is named, not guessed."""
    with pytest.raises(ValueError, match="not a position"):
        Position.parse(text)


def test_replay_names_its_origin() -> None:
    """The header by which the streams leave the verdict to Postgres."""
    assert ("replay-of", b"1:2:3:4") in replay_headers(Position(1, 2, 3, 4))


def test_replay_goes_where_the_customers_events_go() -> None:
    """A record that names no customer goes where its producer sent it."""
    assert replay_key("cust", b"other") == b"cust"
    assert replay_key(None, b"other") == b"other"
    assert replay_key(None, None) is None

"""Batch ids: opaque, authenticated, bound to the customer."""

from schemas.batch_id import (
    BatchPositions,
    decode_batch_id,
    encode_batch_id,
    unverified_positions,
)

SECRET = b"secret"
POSITIONS = BatchPositions(3, (17, 18), 1000)


def test_reads_back_for_its_customer() -> None:
    """The positions come back."""
    text = encode_batch_id(SECRET, "cust", POSITIONS)

    assert text.startswith("batch_")
    assert decode_batch_id(SECRET, "cust", text) == POSITIONS


def test_is_nonsense_for_another_customer_or_secret() -> None:
    """Nobody learns what became of another's events."""
    text = encode_batch_id(SECRET, "cust", POSITIONS)

    assert decode_batch_id(SECRET, "other", text) is None
    assert decode_batch_id(b"other", "cust", text) is None


def test_every_change_is_noticed() -> None:
    """No character can be altered or cut."""
    text = encode_batch_id(SECRET, "cust", POSITIONS)
    changed = [
        text[:at] + ("B" if text[at] != "B" else "C") + text[at + 1 :] for at in range(6, len(text))
    ]

    assert [decode_batch_id(SECRET, "cust", one) for one in changed] == [None] * len(changed)
    assert decode_batch_id(SECRET, "cust", text[:-2]) is None


def test_rubbish_is_no_batch_id() -> None:
    """Whatever a caller may ask for."""
    for text in ("", "batch_", "batch_!!", "batch_ä", "x", "batch_AAAA"):
        assert decode_batch_id(SECRET, "cust", text) is None
        assert unverified_positions(text) is None


def test_an_operator_reads_it_whoever_it_was_given_to() -> None:
    """The positions come back without the customer; what is cut short does not."""
    text = encode_batch_id(SECRET, "cust", POSITIONS)

    assert unverified_positions(text) == POSITIONS
    assert unverified_positions(text[:-8]) is None

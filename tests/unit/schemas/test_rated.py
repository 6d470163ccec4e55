"""Rated batches: what is written is read back, and the rule by which every fold goes."""

from array import array

import pytest

from schemas.rated import (
    Cover,
    Fold,
    Kind,
    RatedBatch,
    cover,
    decode_batch,
    encode_batch,
    pack_fold,
    pack_position,
    unpack_fold,
    unpack_position,
)


@pytest.mark.parametrize(
    ("first", "following", "expected"),
    [
        pytest.param(10, 20, Cover.NEXT, id="follows"),
        pytest.param(5, 20, Cover.NEXT, id="straddles"),
        pytest.param(5, 10, Cover.REPLAY, id="ends-there"),
        pytest.param(0, 5, Cover.REPLAY, id="below"),
        pytest.param(11, 20, Cover.AHEAD, id="leaves-a-hole"),
        pytest.param(10, 10, Cover.REPLAY, id="covers-nothing"),
    ],
)
def test_first_batch_to_cover_a_position_wins(first: int, following: int, expected: Cover) -> None:
    """At next_offset 10."""
    assert cover(10, first, following) is expected


def test_positions_order_as_their_parts() -> None:
    """Offset first, index second; both come back."""
    parts = [(0, 0), (0, 999), (1, 0), (2**40, 5)]
    packed = [pack_position(*part) for part in parts]

    assert packed == sorted(packed)
    assert [unpack_position(one) for one in packed] == parts


def test_batch_reads_back() -> None:
    """An operator's decision keeps who and why."""
    batch = RatedBatch(1, 5, 9, 3, [(5, 1000)], [], [("c", "2025-01-01T00:00:00Z", 1, "0.1", 2)])
    hole = RatedBatch(1, 5, 9, 0, [], [], [], Kind.HOLE, "disk lost", "ann")

    assert decode_batch(encode_batch(batch)) == batch
    assert decode_batch(encode_batch(hole)) == hole


def test_foreign_format_is_refused_by_number() -> None:
    """A newer release's batch is not guessed at."""
    with pytest.raises(ValueError, match="format 9"):
        decode_batch(b'{"format":9}')


FOLD = Fold(
    Kind.RATED,
    5,
    9,
    [(5, 1000), (7, 1001)],
    array("q", [pack_position(5, 0), pack_position(6, 999)]),
    b"a" * 16 + b"b" * 16,
)


def test_fold_reads_back() -> None:
    """Range, times, positions and identities survive the header."""
    found = unpack_fold(pack_fold(FOLD))

    assert found == FOLD
    assert found.identity(1) == b"b" * 16


@pytest.mark.parametrize("cut", [0, 1, 30, -1])
def test_cut_fold_is_refused(cut: int) -> None:
    """A damaged header is never half read."""
    with pytest.raises(ValueError, match=r"format|cut"):
        unpack_fold(pack_fold(FOLD)[:cut])

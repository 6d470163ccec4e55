"""The map of identities to positions: what it finds, what it forgets, what it takes."""

import random
import tracemalloc

import numpy as np
import pytest

from streams.identity_map import CHUNK_ENTRIES, NOT_FOUND, IdentityMap

MANY = 128


def identity(low: int, high: int) -> bytes:
    return low.to_bytes(8, "little") + high.to_bytes(8, "little")


def some(count: int, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(16) for _ in range(count)]


def positions(first: int, count: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.arange(first, first + count)


@pytest.mark.parametrize("count", [1, MANY])
def test_the_newest_entry_counts(count: int) -> None:
    """An identity has one position, the last, also when it comes twice at once."""
    found, own = IdentityMap(), some(count, 0)
    found.add(b"".join(own), positions(0, count))
    found.add(b"".join(own + own), positions(count, 2 * count))

    assert found.find(b"".join(own)) == [*range(2 * count, 3 * count)]
    assert sorted(found) == sorted(own)
    assert found.find(b"".join(some(count, 1))) == [NOT_FOUND] * count


def test_identities_that_look_alike_are_told_apart() -> None:
    """The same slot and the same bits beside it: the whole identity decides."""
    count = MANY
    found, own = IdentityMap(), [identity(7, 1 << 40 | number) for number in range(count)]
    found.add(b"".join(own), positions(0, count))

    assert found.find(b"".join(own)) == [*range(count)]
    assert found.find(identity(7, 1 << 40 | count)) == [NOT_FOUND]
    assert found.find(identity(0, 0) * count) == [NOT_FOUND] * count


def test_what_lies_below_a_position_is_forgotten_while_the_rest_stays() -> None:
    """Through many chunks and indexes: what was dropped is gone, what was charged again is not."""
    found, own = IdentityMap(), some(3 * CHUNK_ENTRIES, 2)
    again = own[:MANY]
    found.add(b"".join(own), positions(0, len(own)))
    found.add(b"".join(again), positions(len(own), MANY))
    assert found.find(own[MANY]) == [MANY]
    found.drop_below(2 * CHUNK_ENTRIES + 5)

    assert len(found) == CHUNK_ENTRIES - 5 + MANY
    assert found.find(b"".join(again)) == [*range(len(own), len(own) + MANY)]
    assert found.find(b"".join(own[MANY : 2 * CHUNK_ENTRIES + 5])) == [NOT_FOUND] * (
        2 * CHUNK_ENTRIES + 5 - MANY
    )
    assert found.find(own[2 * CHUNK_ENTRIES + 5]) == [2 * CHUNK_ENTRIES + 5]
    found.drop_below(1 << 60)
    found.add(b"".join(own), positions(1 << 60, len(own)))
    assert found.find(own[0]) == [1 << 60]


def test_an_identity_takes_sixty_bytes_at_most_whatever_came_before() -> None:
    """Half a million at a time within a window of as many, through indexes built anew."""
    tracemalloc.start()
    found, window = IdentityMap(), 500_000
    for first in range(0, 2_000_000, 10_000):
        found.add(random.Random(first).randbytes(160_000), positions(first, 10_000))
        found.drop_below(first + 10_000 - window)
        found.index()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(found) == window
    assert peak / window < 60


def test_an_index_shrinks_with_what_it_holds() -> None:
    """After a busy day the memory of its identities is given back."""
    tracemalloc.start()
    found = IdentityMap()
    found.add(b"".join(some(8 * CHUNK_ENTRIES, 4)), positions(0, 8 * CHUNK_ENTRIES))
    assert found.find(bytes(16)) == [NOT_FOUND]
    found.drop_below(8 * CHUNK_ENTRIES - 10)
    found.add(b"".join(some(1, 5)), positions(8 * CHUNK_ENTRIES, 1))
    assert found.find(some(1, 5)[0]) == [8 * CHUNK_ENTRIES]
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(found) == 11
    assert left < 3 * 24 * CHUNK_ENTRIES


def test_an_index_is_built_bit_by_bit() -> None:
    """After many were added a look-up need not wait for all of them at once."""
    found, own = IdentityMap(), some(5 * CHUNK_ENTRIES // 2, 3)
    found.add(b"".join(own), positions(0, len(own)))
    steps = 1
    while found.index(CHUNK_ENTRIES):
        steps += 1

    assert steps == 3
    assert found.find(own[-1]) == [len(own) - 1]

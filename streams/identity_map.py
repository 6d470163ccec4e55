"""Identities and the positions at which they were charged, in arrays: some 50 bytes an identity.

A dict of objects takes three to five times as much, and hands them out one by one. Here entries
stand in the order in which they were charged, in chunks of 24 bytes an entry; the oldest are
dropped by whole chunks. A hash index of 8 bytes a slot tells the number of an identity's newest
entry: open addressing, linear probing, in a compiled loop.

An entry that was dropped leaves its slot in the index: it counts as another identity's until the
index is built anew, which takes nothing but the entries.
"""

import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.identity import IDENTITY_BYTES
from streams.compiled import Numbers, Word, Words, compiled

CHUNK_ENTRIES = 1 << 16
# An index is built with so many entries per slot; anew when so many slots are taken, or when so few
# would do.
LOAD_BUILT = 0.35
LOAD_MAX = 0.65
LOAD_MIN = 0.1
SLOTS_MIN = 1 << 10

NOT_FOUND = -1

# A slot holds 32 bits of an identity, then 1 + the number of its newest entry; 0: it is free.
NUMBER_BITS = 32
NUMBER_MASK = (1 << NUMBER_BITS) - 1
WORD_BITS = np.uint64(NUMBER_BITS)
WORD_MASK = np.uint64(NUMBER_MASK)


def _words_of(identities: bytes) -> Words:
    """Return packed identities as rows of two words."""
    return np.frombuffer(identities, np.uint64).reshape(-1, IDENTITY_BYTES // 8)


class _Chunk:
    """`CHUNK_ENTRIES` entries; memory is taken by those that were written."""

    def __init__(self) -> None:
        self.keys: Words = np.empty((CHUNK_ENTRIES, 2), np.uint64)
        self.positions: Numbers = np.empty(CHUNK_ENTRIES, np.int64)


class IdentityMap:
    """Packed positions by identity. Entries are added with rising positions, dropped by them."""

    def __init__(self) -> None:
        self._chunks: list[_Chunk] = []
        # Entries are numbered as they come, anew with each index.
        self._chunks_from = 0  # the first of the chunks
        self._first = 0  # the first not dropped
        self._end = 0
        self._indexed = 0  # those below are in the index
        self._make_slots(SLOTS_MIN)
        self._taken = 0
        # Nobody can choose ids that all want the same slots.
        self._multiplier = np.uint64(secrets.randbits(64) | 1)

    def __len__(self) -> int:
        """Entries; an identity that was charged again has two until its first is dropped."""
        return self._end - self._first

    def __iter__(self) -> Iterator[bytes]:
        """Yield each identity once."""
        self.index()  # entries keep their numbers then
        for number in range(self._first, self._end):
            chunk, at = self._chunk_of(number)
            identity = chunk.keys[at].tobytes()
            if self.find(identity) == [chunk.positions[at]]:
                yield identity

    def add(self, identities: bytes, positions: Numbers) -> None:
        """Take identities, 16 bytes each, and their positions, none below those before."""
        keys, done = _words_of(identities), 0
        while done < len(keys):
            if self._end - self._chunks_from == len(self._chunks) * CHUNK_ENTRIES:
                self._chunks.append(_Chunk())
            chunk, at = self._chunk_of(self._end)
            count = min(CHUNK_ENTRIES - at, len(keys) - done)
            chunk.keys[at : at + count] = keys[done : done + count]
            chunk.positions[at : at + count] = positions[done : done + count]
            self._end += count
            done += count

    def drop_below(self, position: int) -> None:
        """Forget the entries below a position."""
        while self._first < self._end:
            chunk, at = self._chunk_of(self._first)
            end = min(CHUNK_ENTRIES, at + self._end - self._first)
            dropped = int(np.searchsorted(chunk.positions[at:end], position))
            self._first += dropped
            if at + dropped < CHUNK_ENTRIES:
                break
            del self._chunks[0]
            self._chunks_from += CHUNK_ENTRIES
        self._indexed = max(self._indexed, self._first)

    def find(self, identities: bytes) -> list[int]:
        """Return the position of each identity's newest entry, `NOT_FOUND` where there is none."""
        self.index()
        keys = _words_of(identities)
        found = np.full(len(keys), NOT_FOUND, np.int64)
        which, slots = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
        count = _probe(self._slots, keys, self._multiplier, which, slots)
        if count:
            which, slots = which[:count], slots[:count]
            is_same, positions = self._compare(_numbers_of(self._slots[slots]), keys[which])
            found[which[is_same]] = positions[is_same]
            is_left = ~is_same
            for one, slot in zip(which[is_left].tolist(), slots[is_left].tolist(), strict=True):
                found[one] = self._find_one(slot, *keys[one].tolist())
        return found.tolist()

    def index(self, entries_max: int | None = None) -> bool:
        """Take entries into the index, all or about so many; tell whether any are left.

        `find` does it by itself; after many were added it may be done bit by bit.
        """
        allowed = len(self) if entries_max is None else entries_max
        while self._indexed < self._end and allowed > 0:
            will_be_taken = self._taken + self._end - self._indexed
            most = max(SLOTS_MIN, len(self) / LOAD_MIN)
            if not will_be_taken / LOAD_MAX <= len(self._slots) <= most:
                self._begin_index()
            chunk, at = self._chunk_of(self._indexed)
            count = min(CHUNK_ENTRIES - at, self._end - self._indexed)
            self._insert(chunk.keys[at : at + count], self._indexed)
            self._indexed += count
            allowed -= count
        return self._indexed < self._end

    def _begin_index(self) -> None:
        """Empty the index, with room for all entries; their numbers begin anew."""
        self._first -= self._chunks_from
        self._end -= self._chunks_from
        self._indexed, self._chunks_from, self._taken = self._first, 0, 0
        self._make_slots(0)  # never two indexes at a time
        self._make_slots(max(SLOTS_MIN, int(len(self) / LOAD_BUILT)))

    def _make_slots(self, count: int) -> None:
        self._slots: Words = np.zeros(count, np.uint64)
        self._slots_one = memoryview(self._slots.data)  # an array is slow one by one

    def _insert(self, keys: Words, first_number: int) -> None:
        which, slots = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
        count = _fill(self._slots, keys, self._multiplier, first_number + 1, which, slots)
        self._taken += len(keys) - count
        # The same identity again, or another one that looks like it so far: an entry decides.
        for one, slot in zip(which[:count].tolist(), slots[:count].tolist(), strict=True):
            low, high = keys[one].tolist()
            self._insert_one(slot, low, high, high & ~NUMBER_MASK | first_number + 1 + one)

    def _find_one(self, slot: int, low: int, high: int) -> int:
        there = self._slots_one[self._walk(slot, low, high)]
        if not there:
            return NOT_FOUND
        chunk, at = self._chunk_of((there & NUMBER_MASK) - 1)
        return chunk.positions.item(at)

    def _insert_one(self, slot: int, low: int, high: int, entry: int) -> None:
        slot = self._walk(slot, low, high)
        there = self._slots_one[slot]
        self._taken += not there
        # If taken, then by the same identity: the newer number is the greater one.
        self._slots_one[slot] = max(there, entry)

    def _walk(self, slot: int, low: int, high: int) -> int:
        """Return the slot of an identity's newest entry, or the first free one, from a slot on."""
        slots = self._slots_one
        while there := slots[slot]:
            if not (there ^ high) >> NUMBER_BITS and self._is_of(there, low, high):
                break
            slot += 1
            if slot == len(slots):
                slot = 0
        return slot

    def _is_of(self, there: int, low: int, high: int) -> bool:
        number = (there & NUMBER_MASK) - 1
        if number < self._first:
            return False
        chunk, at = self._chunk_of(number)
        return bool(chunk.keys[at].tolist() == [low, high])

    def _chunk_of(self, number: int) -> tuple[_Chunk, int]:
        """Return the chunk of an entry, and where in it the entry stands."""
        which, at = divmod(number - self._chunks_from, CHUNK_ENTRIES)
        return self._chunks[which], at

    def _compare(self, numbers: Numbers, keys: Words) -> tuple[NDArray[np.bool], Numbers]:
        """Tell which entries are those of these identities, and where they were charged."""
        is_same = np.zeros(len(numbers), np.bool)
        positions = np.full(len(numbers), NOT_FOUND, np.int64)
        which, at = np.divmod(numbers - self._chunks_from, CHUNK_ENTRIES)
        for one in np.unique(which[numbers >= self._first]).tolist():
            own = np.flatnonzero((which == one) & (numbers >= self._first))
            chunk = self._chunks[one]
            is_same[own] = (chunk.keys[at[own]] == keys[own]).all(axis=1)
            positions[own] = chunk.positions[at[own]]
        return is_same, positions


def _numbers_of(there: Words) -> Numbers:
    return (there & WORD_MASK).view(np.int64) - 1


@compiled
def _first_alike(slots: Words, low: Word, high: Word, multiplier: Word) -> Word:
    """Return the first slot that is free or holds the same 32 bits, from where one looks first."""
    mixed = low * multiplier >> WORD_BITS
    slot: Any = np.int64(mixed * np.uint64(len(slots)) >> WORD_BITS)
    while slots[slot] and slots[slot] ^ high > WORD_MASK:
        slot += 1
        if slot == len(slots):
            slot = 0
    return slot


@compiled
def _probe(
    slots: Words, keys: Words, multiplier: Word, which: Numbers, slots_alike: Numbers
) -> int:
    """Return how many identities may be there; the last two tell which, and in which slot."""
    alike = 0
    for number in range(len(keys)):
        slot = _first_alike(slots, keys[number, 0], keys[number, 1], multiplier)
        if slots[slot]:
            which[alike], slots_alike[alike] = number, slot
            alike += 1
    return alike


@compiled
def _fill(  # noqa: PLR0917 -- arrays in, arrays out
    slots: Words,
    keys: Words,
    multiplier: Word,
    first_entry: int,
    which: Numbers,
    slots_alike: Numbers,
) -> int:
    """Put identities into free slots; return how many have none, as `_probe` does."""
    alike = 0
    for number in range(len(keys)):
        slot = _first_alike(slots, keys[number, 0], keys[number, 1], multiplier)
        if slots[slot]:
            which[alike], slots_alike[alike] = number, slot
            alike += 1
        else:
            slots[slot] = keys[number, 1] & ~WORD_MASK | np.uint64(first_entry + number)
    return alike

"""Texts that stand somewhere in bytes, and the numbers of those that are the same."""

import numpy as np

from streams.compiled import Bytes, Numbers, Word, compiled
from streams.quick.scan import CUSTOMER, CUSTOMER_LENGTH

# FNV-1a, 64 bits.
_BEGIN = np.uint64(0xCBF29CE484222325)
_FACTOR = np.uint64(0x100000001B3)
_TOP_BITS = np.uint64(32)
_POSITIVE = np.uint64(0x7FFFFFFF)


@compiled
def hash_of(text: Bytes, at: int, length: int, seed: int) -> Word:
    """Return 31 bits that the bytes at a position make."""
    mixed = _BEGIN ^ np.uint64(seed)
    for offset in range(length):
        mixed = (mixed ^ np.uint64(text[at + offset])) * _FACTOR
    return np.int64((mixed ^ mixed >> _TOP_BITS) & _POSITIVE)


@compiled
def is_same(text: Bytes, at: int, other: Bytes, other_at: int, length: int) -> bool:
    """Tell whether the same bytes stand in two places."""
    for offset in range(length):
        if text[at + offset] != other[other_at + offset]:
            return False
    return True


@compiled
def number_customers(
    text: Bytes, rows: Numbers, seed: int, numbers: Numbers, firsts: Numbers
) -> int:
    """Tell which rows are of the same customer.

    Writes the number of each row's customer, and of each customer its first row; returns how many
    customers there are. `seed`: nobody can choose ids that all want the same slots.
    """
    size = 8
    while size < 2 * rows.shape[0]:
        size *= 2
    slots = np.zeros(size, np.int64)  # 1 + the number of a customer, 0: free
    customers = 0
    for number in range(rows.shape[0]):
        at, length = rows[number, CUSTOMER], rows[number, CUSTOMER_LENGTH]
        slot = hash_of(text, at, length, seed) & (size - 1)
        while slots[slot]:
            first = firsts[slots[slot] - 1]
            if rows[first, CUSTOMER_LENGTH] == length and is_same(
                text, at, text, rows[first, CUSTOMER], length
            ):
                break
            slot = (slot + 1) & (size - 1)
        if slots[slot] == 0:
            firsts[customers] = number
            customers += 1
            slots[slot] = customers
        numbers[number] = slots[slot] - 1
    return customers

"""Columns of values as the fields of binary COPY, for thousands of rows at once.

A field is a 32-bit length and its bytes. What is the same size in each row is laid out by numpy, so
that a value costs some nanoseconds; a row is then cut out and joined with its fields of any size.
"""

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]  # a row of bytes for each value
Int64s = NDArray[np.int64]

_ZERO = ord("0")
_NINE = 9
_POINT = ord(".")
_GROUP = np.array([1_000, 100, 10, 1])  # numeric counts in digits of base 10,000
_TENS = np.array([10, 1])

# Where the parts of 2025-01-17T14:30:00.123456Z stand. `Z` may come sooner: it and what lies behind
# it are no digits.
_TIME_CHARACTERS = 26
_YEAR, _MONTH, _DAY = slice(0, 4), slice(5, 7), slice(8, 10)
_CLOCK = np.array([11, 12, 14, 15, 17, 18, 20, 21, 22, 23, 24, 25])
_CLOCK_MICROSECONDS = np.array(
    [
        *(36_000_000_000, 3_600_000_000, 600_000_000, 60_000_000, 10_000_000, 1_000_000),
        *(100_000, 10_000, 1_000, 100, 10, 1),
    ]
)
_DAYS_TO_2000 = 10_957  # from 1970
_DAY_MICROSECONDS = 86_400_000_000


class FixedFields:
    """The first fields of a row, each of a fixed size; before them stands the count of all."""

    def __init__(self, row_fields: int, **formats: str) -> None:
        """`formats`: numpy's, by the names of the fields."""
        pairs = [("fields", ">i2")]
        for name, form in formats.items():
            pairs += [(f"length of {name}", ">i4"), (name, form)]
        self.dtype = np.dtype(pairs)
        self._template = np.zeros((), self.dtype)
        self._template["fields"] = row_fields
        for name in formats:
            self._template[f"length of {name}"] = self.dtype[name].itemsize

    def rows(self, count: int, **columns: Any) -> list[bytes]:
        """Return so many rows' beginnings."""
        found = np.full(count, self._template)
        for name, column in columns.items():
            found[name] = column
        return cut(found.view(np.uint8).reshape(count, -1))


def cut(rows: Bytes) -> list[bytes]:
    """Return each row as bytes."""
    found: list[bytes] = np.ascontiguousarray(rows).view(f"V{rows.shape[1]}").ravel().tolist()
    return found


def int64s(values: Sequence[int]) -> Int64s:
    """Return integers as they are. Raises OverflowError beyond 64 bits."""
    return np.frombuffer(array("q", values), np.int64)


def uuids(texts: Sequence[str]) -> NDArray[np.void]:
    """Return UUIDs, given in hex with hyphens, as 16 bytes each."""
    return np.frombuffer(bytes.fromhex("".join(texts).replace("-", "")), "V16")


def timestamps(texts: Sequence[str]) -> Int64s:
    """Return times of valid events (`schemas.timestamps`) in microseconds since 2000, cut."""
    digits = _digits(_characters(texts, _TIME_CHARACTERS))
    months = (digits[:, _YEAR] @ _GROUP - 1970) * 12 + digits[:, _MONTH] @ _TENS - 1
    days: Int64s = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    days += digits[:, _DAY] @ _TENS - 1 - _DAYS_TO_2000
    clock: Int64s = digits[:, _CLOCK] @ _CLOCK_MICROSECONDS
    return days * _DAY_MICROSECONDS + clock


def numerics(texts: Sequence[str]) -> list[bytes]:
    """Return fields of numeric: of decimals that are not negative, such as 0.015000.

    All get as many groups of four digits as the longest needs; Postgres drops leading and trailing
    zeros as it reads them. Raises ValueError on anything else than digits and a point.
    """
    length = max(map(len, texts)) + 1
    characters = _characters(texts, length)
    characters[characters == 0] = _POINT  # behind the end, so also where none is written
    is_point = characters == _POINT
    if not (is_point | (characters - _ZERO <= _NINE)).all():
        raise ValueError("a cost must be digits and a point")
    points = np.argmax(is_point, axis=1)
    places = length - is_point.sum(axis=1) - points
    before, after = -(-int(points.max()) // 4), -(-int(places.max()) // 4)
    # Around each point so many groups are cut out, and what is no digit there is a zero.
    padded = np.full((len(texts), 4 * (before + after) + length + 1), _POINT, np.uint8)
    padded[:, 4 * before : 4 * before + length] = characters
    around = np.delete(np.arange(4 * (before + after) + 1), 4 * before)
    digits = _digits(np.take_along_axis(padded, points[:, np.newaxis] + around, axis=1))
    fields = np.empty((len(texts), 6 + before + after), ">i2")
    size = 2 * fields.shape[1] - 4
    # The length of the field in 32 bits; groups, the weight of the first, positive, places.
    fields[:, :6] = np.array([0, size, before + after, before - 1, 0, 0])
    fields[:, 5] = places
    fields[:, 6:] = digits.reshape(len(texts), before + after, 4) @ _GROUP
    return cut(fields.view(np.uint8))


def _characters(texts: Sequence[str], length: int) -> Bytes:
    """Return so many characters of each text, with zeros behind its end; ASCII alone."""
    return np.array(texts, f"S{length}").view(np.uint8).reshape(len(texts), length)


def _digits(characters: Bytes) -> Int64s:
    """Return the digits, and zero for what is none."""
    found = characters - _ZERO
    found[found > _NINE] = 0
    return found.astype(np.int64)

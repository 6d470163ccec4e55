"""Array parameters in the binary form that Postgres reads.

psycopg builds a list value by value in Python, a microsecond each, and a transaction passes some
for each event or wallet; here the fields, length first, are joined as they are.
"""

from collections.abc import Sequence
from struct import Struct

from psycopg import adapters
from psycopg.adapt import Dumper
from psycopg.pq import Format

TEXT_OID = 25
UUID_OID = 2950
INT8_OID = 20
_head = Struct("!iiiii").pack
_empty = Struct("!iii").pack


class Array(bytes):
    """A whole array; its statement casts it, so nothing else tells its type."""

    __slots__ = ()


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        """Return the bytes as they are."""
        return obj


adapters.register_dumper(Array, _ArrayDumper)


def array_of(oid: int, fields: Sequence[bytes]) -> Array:
    """Return an array of one dimension; a field is a length, -1 for NULL, and so many bytes."""
    if not fields:
        return Array(_empty(0, 0, oid))
    return Array(_head(1, 1, oid, len(fields), 1) + b"".join(fields))

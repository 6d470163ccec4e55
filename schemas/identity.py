"""What makes two events the same: 128-bit identities, scoped to the customer.

An event has one identity for its `event_id` and one more for its `idempotency_key`, if it has
one. It is a duplicate when either belongs to another charged event of the same customer.
"""

from functools import lru_cache
from hashlib import blake2b
from struct import Struct

IDENTITY_BYTES = 16

# Each part is preceded by its length: without it customer "a" with key "bc" and customer "ab"
# with key "c" would be one identity, and one tenant could suppress another's events.
_LENGTHS = Struct("<cII").pack


@lru_cache(maxsize=16_384)  # ids have one length, and keys of one producer mostly, too
def _prefix(kind: bytes, customer_id: str, length: int) -> bytes:
    customer = customer_id.encode()
    return _LENGTHS(kind, len(customer), length) + customer


def _identity(kind: bytes, customer_id: str, value: bytes) -> bytes:
    text = _prefix(kind, customer_id, len(value)) + value
    return blake2b(text, digest_size=IDENTITY_BYTES).digest()


def identities(
    customer_id: str, event_id: str, idempotency_key: str | None = None
) -> tuple[bytes, ...]:
    """Return the 16-byte identities of an event: of its id, then of its key where it has one.

    `event_id` may be in either case; an empty `idempotency_key` is none.
    """
    by_id = _identity(b"i", customer_id, event_id.lower().encode())
    if not idempotency_key:
        return (by_id,)
    return (by_id, _identity(b"k", customer_id, idempotency_key.encode()))


def advisory_identity(customer_id: str, event_id: str, idempotency_key: str | None) -> bytes:
    """Return the identity that the gateway's advice goes by: the key's, else the id's."""
    if idempotency_key:
        return _identity(b"k", customer_id, idempotency_key.encode())
    return _identity(b"i", customer_id, event_id.lower().encode())

"""What makes two events the same: 128-bit identities, scoped to the customer.

An event has one identity for its `event_id` and one more for its `idempotency_key`, if it has
one. It is a duplicate when either belongs to another charged event of the same customer.
"""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import cast

from schemas.events import UsageEvent

IDENTITY_BYTES = 16

# Each part is preceded by its length: without it customer "a" with key "bc" and customer "ab"
# with key "c" would be one identity, and one tenant could suppress another's events.
LENGTHS = Struct("<cII")


@lru_cache(maxsize=16_384)  # ids have one length, and keys of one producer mostly, too
def _begun(kind: bytes, customer_id: str, length: int) -> "blake2b":
    customer = customer_id.encode()
    return blake2b(LENGTHS.pack(kind, len(customer), length) + customer, digest_size=IDENTITY_BYTES)


class _OfCustomer:
    """The hashes of a customer's identities, begun, for texts as long as the last ones."""

    __slots__ = ("by_id", "by_key", "id_length", "key_length")

    def __init__(self, customer_id: str, id_length: int) -> None:
        self.id_length, self.key_length = id_length, -1
        self.by_id = self.by_key = _begun(b"i", customer_id, id_length)


def identities_each(events: Iterable[UsageEvent]) -> list[tuple[bytes, ...]]:
    """Return the 16-byte identities of each valid event: of its id, then of its key if it has one.

    Its last identity is thus the one that a producer's retry is told by.
    """
    found: list[tuple[bytes, ...]] = []
    begun_of: dict[str, _OfCustomer] = {}
    for event in events:
        customer_id, event_id = event["customer_id"], event["event_id"].encode()
        begun = begun_of.get(customer_id)
        if begun is None or len(event_id) != begun.id_length:
            begun = begun_of[customer_id] = _OfCustomer(customer_id, len(event_id))
        hashed = begun.by_id.copy()
        hashed.update(event_id)
        own = hashed.digest()
        idempotency_key = event.get("idempotency_key")
        if idempotency_key is None:
            found.append((own,))
            continue
        key = idempotency_key.encode()
        if len(key) != begun.key_length:
            begun.key_length, begun.by_key = len(key), _begun(b"k", customer_id, len(key))
        hashed = begun.by_key.copy()
        hashed.update(key)
        found.append((own, hashed.digest()))
    return found


def identities(
    customer_id: str, event_id: str, idempotency_key: str | None = None
) -> tuple[bytes, ...]:
    """Return the identities of one event; `event_id` in either case, an empty key is none."""
    event = {"customer_id": customer_id, "event_id": event_id.lower()}
    if idempotency_key:
        event["idempotency_key"] = idempotency_key
    return identities_each([cast("UsageEvent", event)])[0]

"""`batch_id`: where a request's records stand in `usage.raw`, opaque, authenticated, bound.

Text is `batch_` + base64url of (positions, MAC). The MAC covers the customer, so another customer's
id reads as nonsense, as does a changed one.
"""

import base64
import binascii
import hmac
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct

PREFIX = "batch_"
_MAC_BYTES = 12
_HEAD = Struct("<BHIH")  # format, partition, events, records
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class BatchPositions:
    """The records of one request: their partition, their offsets in order, the number of events."""

    partition: int
    offsets: tuple[int, ...]
    events: int


def encode_batch_id(secret: bytes, customer_id: str, positions: BatchPositions) -> str:
    """Return the batch id that tells the customer, and only them, what became of the events."""
    offsets = b"".join(offset.to_bytes(8, "little") for offset in positions.offsets)
    head = _HEAD.pack(_FORMAT, positions.partition, positions.events, len(positions.offsets))
    body = head + offsets
    return PREFIX + _text(body + _mac(secret, customer_id, body))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_batch_id(secret: bytes, customer_id: str, text: str) -> BatchPositions | None:
    """Return the positions, or None when the id is not one that this customer was given."""
    raw = _raw(text)
    if raw is None:
        return None
    body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(secret, customer_id, body)):
        return None
    return _positions(body)


def unverified_positions(text: str) -> BatchPositions | None:
    """Return what an id says, whoever it was given to, or made up by: for an operator alone."""
    raw = _raw(text)
    return None if raw is None else _positions(raw[:-_MAC_BYTES])


def _raw(text: str) -> bytes | None:
    if not text.startswith(PREFIX) or not text.isascii():
        return None
    encoded = text.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    # Bits that base64 leaves unused: one id has one spelling.
    return raw if _text(raw) == encoded else None


def _positions(body: bytes) -> BatchPositions | None:
    if len(body) < _HEAD.size:
        return None
    version, partition, events, records = _HEAD.unpack_from(body)
    if version != _FORMAT or len(body) != _HEAD.size + 8 * records:
        return None
    offsets = tuple(
        int.from_bytes(body[at : at + 8], "little")
        for at in range(_HEAD.size, _HEAD.size + 8 * records, 8)
    )
    return BatchPositions(partition, offsets, events)


def _mac(secret: bytes, customer_id: str, body: bytes) -> bytes:
    customer = customer_id.encode()
    text = len(customer).to_bytes(4, "little") + customer + body
    return hmac.new(secret, text, sha256).digest()[:_MAC_BYTES]

"""What `seen` answers, asked as a model is asked: one answer for each identity."""

from collections.abc import Sequence

from schemas.identity import IDENTITY_BYTES
from streams.identity_map import NOT_FOUND
from streams.seen import SeenPartition


def find_each(seen: SeenPartition, identities: bytes, broker_times: Sequence[int]) -> list[int]:
    """Return the packed position at which each identity was charged in the window, else -1.

    `identities` holds 16 bytes each; `broker_times` the epoch milliseconds that the window of each
    is around.
    """
    found = seen.find(identities)
    assert len(found) == len(identities) // IDENTITY_BYTES == len(broker_times)
    return [
        position if position != NOT_FOUND and seen.is_in_window(position, ms) else NOT_FOUND
        for position, ms in zip(found, broker_times, strict=True)
    ]

"""What somebody looks for, told by its form. Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum

from schemas.batch_id import PREFIX, BatchPositions, unverified_positions

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LETTER = re.compile(r"dl-\d{1,10}-\d{1,10}-\d{1,19}-\d{1,4}", re.ASCII)
_POSITION = re.compile(r"(\d{1,10}):(\d{1,18})", re.ASCII)
_PARTITION_MAX = 2**31 - 1


class Sought(StrEnum):
    """What a text is the name of."""

    LETTER = "letter"
    BATCH = "batch"
    EVENT = "event"
    CUSTOMER = "customer"


@dataclass(frozen=True, slots=True)
class Search:
    """A text and what it names."""

    kind: Sought
    text: str


def understand(text: str) -> Search:
    """Tell an event id, a batch id, "partition:offset" and a letter id; the rest is a customer."""
    text = text.strip()
    if _UUID.fullmatch(text):
        return Search(Sought.EVENT, text)
    if _LETTER.fullmatch(text):
        return Search(Sought.LETTER, text)
    if positions_of(text) is not None:
        return Search(Sought.BATCH, text)
    return Search(Sought.CUSTOMER, text)


def positions_of(text: str) -> BatchPositions | None:
    """Read a batch id or "partition:offset" (its number of events is not known: 0)."""
    if text.startswith(PREFIX):
        return unverified_positions(text)
    found = _POSITION.fullmatch(text)
    if found is None or int(found[1]) > _PARTITION_MAX:
        return None
    return BatchPositions(int(found[1]), (int(found[2]),), 0)


def is_event_id(text: str) -> bool:
    """Whether a text is a UUID as events carry it."""
    return _UUID.fullmatch(text) is not None

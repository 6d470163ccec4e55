"""What became of an event, by what the ledger holds of it: pure, but for making the view."""

from enum import StrEnum
from importlib import resources
from typing import Any

import psycopg

_MAKE = (resources.files("gateway.file_import") / "fates.sql").read_bytes()


class Outcome(StrEnum):
    """What became of an event that was asked for."""

    CHARGED = "charged"
    DEAD_LETTER = "dead letter"  # open
    DUPLICATE = "duplicate"
    CLOSED_LETTER = "closed dead letter"  # replayed or discarded, and not charged
    ABSENT = "never arrived"


def outcome_of(*, is_charged: bool, letter_status: str | None, is_duplicate: bool) -> Outcome:
    """Judge an event. A letter that waits goes before a duplicate, as the gateway's answer does."""
    if is_charged:
        return Outcome.CHARGED
    if letter_status == "OPEN":
        return Outcome.DEAD_LETTER
    if is_duplicate:
        return Outcome.DUPLICATE
    return Outcome.ABSENT if letter_status is None else Outcome.CLOSED_LETTER


def make_fates(connection: psycopg.Connection[Any]) -> None:
    """Make the view `fate` over the temporary table `asked`, which must be there."""
    connection.execute(_MAKE)

"""Which versions of our records a release reads, and what it says of others.

A record of Kafka says its version in the header `format`. One without it, or with a header of that
name that is no number (a producer's own), is of version 1.
"""

from collections.abc import Iterable

from schemas.dead_letter import FORMAT_HEADER

FORMAT_NAME, FORMAT_VALUE = FORMAT_HEADER
FORMAT = int(FORMAT_VALUE)
_DIGITS_MAX = 9


class NewerFormatError(ValueError):
    """A record that only a later release can read. Nothing of it may be guessed, or passed over."""

    def __init__(self, what: str, found: int, known: int) -> None:
        super().__init__(
            f"{what} is of format {found}, this release reads up to {known}: run the release that "
            "wrote it, or a later one (docs/upgrade.md)"
        )


def require_known(what: str, found: int, known: int) -> None:
    """Raise NewerFormatError for a later version than is known, ValueError for one of nobody."""
    if found > known:
        raise NewerFormatError(what, found, known)
    if found < 1:
        raise ValueError(f"{what} is of format {found}, which no release writes")


def version_of(headers: Iterable[tuple[str, bytes | None]]) -> int:
    """Return what the header says, 1 where it says nothing."""
    for name, value in headers:
        if name == FORMAT_NAME:
            if value == FORMAT_VALUE or not value or not value.isdigit():
                return FORMAT
            return int(value[:_DIGITS_MAX])
    return FORMAT

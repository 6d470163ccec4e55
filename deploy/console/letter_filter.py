"""Which dead letters are asked for: read from a page's query or form, and written back. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from schemas.dead_letter import Reason

STATUSES = ("OPEN", "REPLAYED", "DISCARDED")
PAGE_LETTERS = 50
# What one action takes at most; the rest is for the next.
ACTION_LETTERS_MAX = 10_000
_TEXT_MAX = 512


class FilterError(ValueError):
    """A field of the filter says something that it cannot; the message names the field."""


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """None leaves a part out. Times are of when the letter came to be; `until` is not included."""

    status: str | None = "OPEN"
    reason: str | None = None
    customer: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def parse(cls, given: Mapping[str, object]) -> "LetterFilter":
        """Read a form or a query; status ALL is any. Raises FilterError."""
        return cls(
            status=_one_of(given, "status", STATUSES, "OPEN"),
            reason=_one_of(given, "reason", tuple(Reason), None),
            customer=_text(given, "customer"),
            since=_moment(given, "since"),
            until=_moment(given, "until"),
        )

    def query(self) -> dict[str, str]:
        """Return what `parse` reads as this filter."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        written = {
            name: value.replace(tzinfo=None).isoformat()
            if isinstance(value, datetime)
            else str(value)
            for name, value in found.items()
            if value is not None
        }
        return {"status": "ALL"} | written


def _text(given: Mapping[str, object], name: str) -> str | None:
    text = str(given.get(name, "")).strip()
    if len(text) > _TEXT_MAX or "\0" in text:
        raise FilterError(f"{name}: at most {_TEXT_MAX} characters")
    return text or None


def _one_of(
    given: Mapping[str, object], name: str, allowed: tuple[str, ...], default: str | None
) -> str | None:
    text = _text(given, name)
    if text is None:
        return default
    if text == "ALL":
        return None
    if text not in allowed:
        raise FilterError(f"{name}: one of {', '.join(allowed)}, ALL")
    return str(text)


def _moment(given: Mapping[str, object], name: str) -> datetime | None:
    """Read a time; one without an offset is UTC."""
    text = _text(given, name)
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise FilterError(f"{name}: a time such as 2026-01-31T12:00 (UTC)") from None

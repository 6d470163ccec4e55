"""What an answer of the gateway means for the events that were sent: pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any

# A mistaken or hostile Retry-After must not hold events for a day.
RETRY_AFTER_SECONDS_MAX = 300.0
REASON_LENGTH_MAX = 500

_TAKEN = frozenset({200, 202})
# To send these again changes nothing. Everything else may pass: it is waited for.
_FOR_GOOD = frozenset({400, 401, 403, 413})
# Some of these may be good alone.
_BY_SOME_EVENTS = frozenset({400, 403, 413})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `retry_after`: the header as it stands."""

    status: int
    body: bytes = b""
    retry_after: str | None = None


class Fate(Enum):
    """What to do with the events of a request."""

    SETTLED = auto()  #: taken, but for those that are refused
    SPLIT = auto()  #: try each half by itself
    AGAIN = auto()  #: send the same again, later


@dataclass(frozen=True, slots=True)
class Judgement:
    """`refused`: reasons by the event's place in the request, `status` of them.

    `wait_seconds`: before `AGAIN`, at least.
    """

    fate: Fate
    refused: Mapping[int, str] = field(default_factory=dict)
    status: int = 400
    wait_seconds: float = 0.0
    reason: str = ""


def judge(answer: Answer, events: int, now: datetime) -> Judgement:
    """Return what to do with so many events that got this answer."""
    body = _object(answer.body)
    if answer.status in _TAKEN and body is not None and "accepted" in body:
        return Judgement(Fate.SETTLED, _rejected(body))
    reason = f"{answer.status}: {_message(answer, body)}"[:REASON_LENGTH_MAX]
    if answer.status not in _FOR_GOOD:
        return Judgement(Fate.AGAIN, wait_seconds=_seconds(answer.retry_after, now), reason=reason)
    named = _named(body, reason) if answer.status == 400 else {}  # noqa: PLR2004
    if named.keys() == set(range(events)):
        return Judgement(Fate.SETTLED, named)
    if events > 1 and answer.status in _BY_SOME_EVENTS:
        return Judgement(Fate.SPLIT)
    return Judgement(Fate.SETTLED, dict.fromkeys(range(events), reason), answer.status)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _rejected(body: Mapping[str, Any]) -> dict[int, str]:
    """Read `errors` of a lenient answer."""
    return {
        one["index"]: "; ".join(f"{e['path']}: {e['message']}" for e in one["errors"])
        for one in body.get("errors", ())
    }


def _named(body: Mapping[str, Any] | None, reason: str) -> dict[int, str]:
    """Read which events a 400 names: `details` is a tree by field."""
    details = (body or {}).get("details")
    events = details.get("events") if isinstance(details, dict) else None
    if not isinstance(events, dict):
        return {}
    return {
        int(place): "; ".join(_leaves(node, ""))[:REASON_LENGTH_MAX] or reason
        for place, node in events.items()
        if place.isdigit()
    }


def _leaves(node: Any, path: str) -> list[str]:
    if not isinstance(node, dict):
        return []
    own = [f"{path}: {message}" if path else str(message) for message in node.get("_errors", ())]
    for name, child in node.items():
        if name != "_errors":
            own += _leaves(child, f"{path}.{name}" if path else name)
    return own


def _message(answer: Answer, body: Mapping[str, Any] | None) -> str:
    if body is not None and "message" in body:
        return str(body["message"])
    return answer.body[:100].decode(errors="replace")


def _seconds(retry_after: str | None, now: datetime) -> float:
    """Read `Retry-After`: seconds, or a date; 0 where it is neither."""
    if retry_after is None:
        return 0.0
    try:
        if retry_after.strip().isdigit():
            seconds = float(retry_after)
        else:
            at = parsedate_to_datetime(retry_after)
            seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)

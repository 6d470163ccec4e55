"""The time that an event names: its form, and how far it may lie from the time it came in."""

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UTC_TIME = r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?Z"
_is_utc_time = re.compile(UTC_TIME, re.ASCII).fullmatch


# Of a valid timestamp most are of this form, which a regular expression can tell: no year below
# 1000, no 29 February.
SURE_TIMESTAMP = (
    "^[1-9][0-9]{3}-(?:"
    "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8])"
    ")T(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]+)?)?Z$"
)


def parse_timestamp(text: str) -> datetime:
    """Return the moment an event names, cut to microseconds. Raises ValueError.

    The text of a valid event may be given to `datetime.fromisoformat`, which is quicker.
    """
    if _is_utc_time(text) is None:  # fromisoformat takes more forms than that
        raise ValueError("Expected an ISO 8601 time in UTC, such as 2025-01-17T14:30:00Z")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("No such day in the calendar") from None


def epoch_microseconds(moment: datetime) -> int:
    """Return the whole microseconds from the epoch to a moment, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class TimestampPolicy:
    """How far an event's own time may lie from the time it came in. None: no limit."""

    past_days_max: int | None
    future_seconds_max: int | None


def time_bounds(now_ms: int, policy: TimestampPolicy) -> tuple[datetime, datetime]:
    """Return the first moment that is not too long ago, and the first that is too far ahead.

    Judged against `now_ms` (epoch milliseconds); both times count in whole seconds.
    """
    return _time_bounds(now_ms // 1000, policy)


def are_timely(
    moments: Collection[datetime], first_ms: int, last_ms: int, policy: TimestampPolicy
) -> bool:
    """Tell whether all moments are in bounds whenever they came in between the two times."""
    earliest, _ = time_bounds(last_ms, policy)
    _, too_late = time_bounds(first_ms, policy)
    return earliest <= min(moments) and max(moments) < too_late


@lru_cache(maxsize=64)  # records of one second, one policy
def _time_bounds(now_seconds: int, policy: TimestampPolicy) -> tuple[datetime, datetime]:
    earliest, too_late = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    now = _EPOCH + timedelta(seconds=now_seconds)
    with suppress(OverflowError):
        if policy.past_days_max is not None:
            earliest = now - timedelta(days=policy.past_days_max)
    with suppress(OverflowError):
        if policy.future_seconds_max is not None:
            too_late = now + timedelta(seconds=policy.future_seconds_max + 1)
    return earliest, too_late

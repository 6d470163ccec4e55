"""When a wallet runs out at the pace of its last hours. Pure; exact until it is a time of day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction

HOUR = timedelta(hours=1)
# What lies farther ahead is not a forecast but a number.
HORIZON = timedelta(days=3650)


class Outlook(StrEnum):
    """What can be said."""

    EMPTY = "empty"  #: nothing is left
    IDLE = "idle"  #: nothing was burned in these hours
    RUNS_OUT = "runs out"
    FAR = "far"  #: not within ten years


@dataclass(frozen=True, slots=True)
class Forecast:
    """`per_hour`: whole credits an hour over the last `hours`. `at`: when nothing is left."""

    hours: int
    per_hour: int
    outlook: Outlook
    at: datetime | None = None


def hour_of(moment: datetime) -> datetime:
    """Return the hour that a moment is in."""
    return moment.replace(minute=0, second=0, microsecond=0)


def fill_hours(
    burned: Mapping[datetime, int], since: datetime, until: datetime
) -> list[tuple[datetime, int]]:
    """Return every hour of [since, until], with 0 where nothing was burned."""
    hour, filled = hour_of(since), []
    while hour <= until:
        filled.append((hour, burned.get(hour, 0)))
        hour += HOUR
    return filled


def forecast(
    balance: int, per_hour: Sequence[tuple[datetime, int]], now: datetime, hours: int
) -> Forecast:
    """Tell when `balance` runs out at the pace of the last `hours`.

    `per_hour`: hours without gaps, the last one being the hour of `now`, which is not over: it
    counts for what has passed of it. Hours before the first burn do not count: a customer of
    yesterday is not averaged over a week.
    """
    begun = next((hour for hour, credits_ in per_hour if credits_), None)
    start = hour_of(now) - (hours - 1) * HOUR
    if begun is not None and begun > start:
        start = begun
    burned = sum(credits_ for hour, credits_ in per_hour if hour >= start)
    elapsed = Fraction(round((now - start) / timedelta(microseconds=1)), 3_600_000_000)
    pace = Fraction(burned) / max(elapsed, Fraction(1, 60))
    if balance <= 0:
        return Forecast(hours, round(pace), Outlook.EMPTY)
    if pace == 0:
        return Forecast(hours, 0, Outlook.IDLE)
    ahead = balance / pace
    if ahead > HORIZON // HOUR:
        return Forecast(hours, round(pace), Outlook.FAR)
    at = now + timedelta(seconds=int(ahead * 3_600))
    return Forecast(hours, round(pace), Outlook.RUNS_OUT, at)

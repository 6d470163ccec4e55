"""Holds the stage while too large a share of the events becomes dead letters.

A deleted price list must not drain a topic into dead letters. Nor may one customer's broken
producer stop everybody: what a customer's letters count for is capped, and a part of fewer than
three customers' letters always goes on.

A part that is too bad by itself is held until it gets better, as by prices that return, or until an
operator lets it go by the settings. One that is held because of the past minute goes on as the
minute does: a stage that stays bad lets through what never stops it, and no more.
"""

from collections import Counter, deque
from collections.abc import Mapping

WINDOW_SECONDS = 60.0
CUSTOMERS_MIN = 3

# Dead letters by customer; None: nobody could read whose they are.
Letters = Mapping[str | None, int]


class Breaker:
    """Counts events and dead letters of the last minute, over all partitions of a worker."""

    def __init__(self, share_max: float, count_min: int) -> None:
        self._share_max = share_max
        self._count_min = count_min
        self._customer_max = max(1, count_min // 2)
        self._counted: deque[tuple[float, int, Letters]] = deque()
        self._events = 0
        self._letters: Counter[str | None] = Counter()

    def admits(self, now: float, events: int, letters: Letters) -> bool:
        """Tell whether a part with so many events and letters may go on; does not count it."""
        self._forget_before(now - WINDOW_SECONDS)
        if len(letters) < CUSTOMERS_MIN:
            return True
        if not self._is_share_too_large(events, letters):
            return True
        both = self._letters.copy()
        both.update(letters)
        is_too_many = self._capped(both) >= self._count_min
        return not (is_too_many and self._is_share_too_large(self._events + events, both))

    def count(self, now: float, events: int, letters: Letters) -> None:
        """Count a part that went on."""
        self._counted.append((now, events, letters))
        self._events += events
        self._letters.update(letters)

    def _is_share_too_large(self, events: int, letters: Letters) -> bool:
        capped = self._capped(letters)
        # What a customer has beyond the cap is not there, neither as letters nor as events.
        return capped > (events - (sum(letters.values()) - capped)) * self._share_max

    def _capped(self, letters: Letters) -> int:
        return sum(min(number, self._customer_max) for number in letters.values())

    def _forget_before(self, moment: float) -> None:
        while self._counted and self._counted[0][0] < moment:
            _, events, letters = self._counted.popleft()
            self._events -= events
            for customer, number in letters.items():
                self._letters[customer] -= number
                if not self._letters[customer]:
                    del self._letters[customer]

"""Stops the stage when too large a share of the events becomes dead letters.

A deleted price list, or a producer gone wrong, must not drain a topic into dead letters.
"""

from collections import deque

WINDOW_SECONDS = 60.0


class Breaker:
    """Counts events and dead letters of the last minute, over all partitions of a worker."""

    def __init__(self, share_max: float, count_min: int) -> None:
        self._share_max = share_max
        self._count_min = count_min
        self._counted: deque[tuple[float, int, int]] = deque()
        self._events = 0
        self._letters = 0
        self.is_open = False

    def admits(self, now: float, events: int, letters: int) -> bool:
        """Tell whether a part with so many events and letters may go on; does not count it.

        Once open it stays so until a part comes that is good enough by itself.
        """
        self._forget_before(now - WINDOW_SECONDS)
        is_bad = letters > events * self._share_max
        all_letters, all_events = self._letters + letters, self._events + events
        is_too_much = all_letters >= self._count_min and all_letters > all_events * self._share_max
        self.is_open = is_bad and (self.is_open or is_too_much)
        return not self.is_open

    def count(self, now: float, events: int, letters: int) -> None:
        """Count a part that went on."""
        self._counted.append((now, events, letters))
        self._events += events
        self._letters += letters

    def _forget_before(self, moment: float) -> None:
        while self._counted and self._counted[0][0] < moment:
            _, events, letters = self._counted.popleft()
            self._events -= events
            self._letters -= letters

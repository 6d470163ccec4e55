"""What was tracked and is not settled yet: bounded, in order, between many threads and one.

An event is *settled* when the gateway has taken it, or refuses it for good. Room is made then, not
when it is sent: what is on its way counts.
"""

import threading
import time
from collections import deque
from collections.abc import Iterable

from burnstream_client.events import Tracked


class BufferFullError(Exception):
    """No room came in time: the gateway takes events more slowly than they are tracked."""


class ClosedError(Exception):
    """The client was closed."""


class Buffer:
    """Events in the order in which they were tracked; `take`, `release`, `settle` by one thread."""

    def __init__(self, events_max: int, bytes_max: int) -> None:
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._changed = threading.Condition()
        self._waiting: deque[tuple[float, Tracked]] = deque()  # monotonic seconds, event
        self._taken: deque[Tracked] = deque()
        self._bytes = 0
        self._bytes_waiting = 0
        self._tracked = 0  # ever
        self._settled = 0  # ever
        self._hurried_to = 0  # the first so many ever tracked wait for no others
        self._is_closed = False
        self._is_abandoned = False

    def __len__(self) -> int:
        """How many events are not settled."""
        return self._tracked - self._settled

    def put(self, event: Tracked, block_seconds: float) -> None:
        """Add an event. Raises BufferFullError or ClosedError."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_room(event) or self._is_closed, block_seconds)
            if self._is_closed:
                raise ClosedError("the client is closed")
            if not self._has_room(event):
                raise BufferFullError(
                    f"{len(self)} events ({self._bytes} bytes) wait for the gateway,"
                    f" and none was taken within {block_seconds} s"
                )
            self._waiting.append((time.monotonic(), event))
            self._bytes += len(event.json)
            self._bytes_waiting += len(event.json)
            self._tracked += 1
            self._changed.notify_all()

    def take(self, events_max: int, bytes_max: int, linger_seconds: float) -> list[Tracked]:
        """Return the next batch, once it is full, its first event lingered, or somebody hurries.

        At least one event, whatever its size; none: closed, and nothing will come.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            while self._waiting and not self._is_due(events_max, bytes_max):
                left = self._waiting[0][0] + linger_seconds - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            batch: list[Tracked] = []
            size = 0
            while self._waiting and len(batch) < events_max:
                size += len(self._waiting[0][1].json)
                if batch and size > bytes_max:
                    break
                batch.append(self._waiting.popleft()[1])
                self._bytes_waiting -= len(batch[-1].json)
            self._taken.extend(batch)
            return batch

    def release(self, count: int) -> bool:
        """Let go of the first events taken; False: they were abandoned, somebody else has them."""
        with self._changed:
            if self._is_abandoned:
                return False
            self._bytes -= sum(len(self._taken.popleft().json) for _ in range(count))
            return True

    def settle(self, count: int) -> None:
        """Count so many as done, and wake whoever waits for that, or for room."""
        with self._changed:
            self._settled += count
            self._changed.notify_all()

    def flush(self, timeout_seconds: float | None) -> bool:
        """Have what is there sent at once; return whether all of it was settled in time."""
        with self._changed:
            target = self._hurried_to = self._tracked
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._settled >= target, timeout_seconds)

    def pause(self, seconds: float) -> bool:
        """Wait; return at once with False when the events were abandoned."""
        with self._changed:
            return not self._changed.wait_for(lambda: self._is_abandoned, seconds)

    def close(self) -> None:
        """Take no more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def abandon(self) -> Iterable[Tracked]:
        """Return what is not settled; from now on it is the caller's alone."""
        with self._changed:
            left = [*self._taken, *(event for _, event in self._waiting)]
            self._taken.clear()
            self._waiting.clear()
            self._bytes = self._bytes_waiting = 0
            self._settled += len(left)
            self._is_abandoned = self._is_closed = True
            self._changed.notify_all()
            return left

    def _has_room(self, event: Tracked) -> bool:
        if self._bytes == 0:  # one event fits always
            return True
        fits = self._bytes + len(event.json) <= self._bytes_max
        return fits and len(self._taken) + len(self._waiting) < self._events_max

    def _is_due(self, events_max: int, bytes_max: int) -> bool:
        return (
            self._is_closed
            or self._hurried_to > self._settled + len(self._taken)
            or len(self._waiting) >= events_max
            or self._bytes_waiting >= bytes_max
        )

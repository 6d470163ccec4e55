"""The client: events in from any thread, batches out from one in the background."""

import atexit
import functools
import json
import logging
import os
import random
import ssl
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, Unpack

from burnstream_client.answers import Fate, Judgement, judge
from burnstream_client.buffer import Buffer
from burnstream_client.connection import Connection, NoAnswerError
from burnstream_client.events import EventType, Fields, Refusal, Tracked, new_event

log = logging.getLogger("burnstream_client")

BATCH_EVENTS_LIMIT = 1_000  # the gateway takes no more


def log_refusal(refusal: Refusal) -> None:
    """Say which event was refused, and why; not what it holds."""
    log.error("Event %s is not charged: %s", refusal.event.get("event_id"), refusal.reason)


class Client:
    """Tells the gateway of usage. Safe to use from any number of threads.

    Args:
        url: of the gateway, `http://host:port` or `https://...`.
        api_key: the customer's.
        customer_id: of events that do not name one.
        on_refused: called, from the background thread, with each event that is not sent again.
            The default logs it.
        batch_events, batch_bytes: a batch is sent when it has so many events or so many bytes,
        batch_seconds: or when its first event has waited so long.
        buffer_events, buffer_bytes: how much may wait for the gateway at once; then `track`
        block_seconds: waits so long for room, and raises BufferFullError. 0: raises at once.
        backoff_seconds: between two attempts at least and at most; doubled after each, less a
            random part. A `Retry-After` of the gateway counts where it is longer.
        timeout_seconds: for an answer.
        close_seconds: how long leaving the context, or the interpreter, waits for what is left.
        ssl_context: for https; the system's certificates otherwise.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        customer_id: str | None = None,
        on_refused: Callable[[Refusal], None] = log_refusal,
        batch_events: int = 500,
        batch_bytes: int = 900_000,
        batch_seconds: float = 1.0,
        buffer_events: int = 10_000,
        buffer_bytes: int = 32 << 20,
        block_seconds: float = 5.0,
        backoff_seconds: tuple[float, float] = (0.2, 30.0),
        timeout_seconds: float = 30.0,
        close_seconds: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if not 1 <= batch_events <= BATCH_EVENTS_LIMIT:
            raise ValueError(f"batch_events is {batch_events}: 1 to {BATCH_EVENTS_LIMIT}")
        self._connect = functools.partial(Connection, url, api_key, timeout_seconds, ssl_context)
        self._connect()  # a wrong address shows here
        self._customer_id = customer_id
        self._on_refused = on_refused
        self._batch = (batch_events, batch_bytes, batch_seconds)
        self._room = (buffer_events, buffer_bytes)
        self._block_seconds = block_seconds
        self._backoff_seconds = backoff_seconds
        self._close_seconds = close_seconds
        self._begin()
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            own = weakref.WeakMethod(self._begin)
            os.register_at_fork(after_in_child=lambda: (begin := own()) and begin())

    def _begin(self) -> None:
        """Start empty: also in a forked child, where the parent sends what it has itself."""
        self._buffer = Buffer(*self._room)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        """How many events are neither taken nor refused yet."""
        return len(self._buffer)

    def __bool__(self) -> bool:
        """A client is one, also when nothing waits."""
        return True

    def track(
        self,
        event_type: EventType,
        feature_id: str,
        *,
        customer_id: str | None = None,
        event_id: str | None = None,
        idempotency_key: str | None = None,
        timestamp: datetime | str | None = None,
        **fields: Unpack[Fields],
    ) -> str:
        """Hand an event over, and return its id; it is sent soon, as often as it takes.

        Its id is made here unless given, its time is now unless given. `idempotency_key`: your own
        name of what happened, where you might tell of it twice under different ids.

        Raises BufferFullError, ClosedError, or TypeError or ValueError where it is no JSON.
        """
        customer_id = customer_id or self._customer_id
        if customer_id is None:
            raise ValueError("no customer_id: name it here, or when the client is made")
        event = new_event(
            event_type,
            feature_id,
            customer_id=customer_id,
            event_id=event_id,
            idempotency_key=idempotency_key,
            timestamp=timestamp,
            fields=fields,
        )
        # The background thread (a callback that tracks) makes the room: it cannot wait for it.
        can_wait = threading.current_thread() is not self._thread
        self._buffer.put(event, self._block_seconds if can_wait else 0.0)
        if self._thread is None:
            self._start()
        return event.event_id

    def flush(self, timeout_seconds: float | None = None) -> bool:
        """Send what was tracked so far, without waiting for full batches; wait for the answers.

        Returns whether all of it was taken or refused in time.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("a callback cannot wait for what waits for it")
        return self._buffer.flush(timeout_seconds)

    def close(self, timeout_seconds: float | None = None) -> None:
        """Send what is left, and end. What is not taken in time goes to `on_refused`."""
        atexit.unregister(self.close)
        self._buffer.close()
        if len(self._buffer) == 0:
            return
        self._start()  # who tracked the first event may not have come that far
        seconds = self._close_seconds if timeout_seconds is None else timeout_seconds
        if not self._buffer.flush(seconds):
            left = self._buffer.abandon()
            self._refuse((event, "not acknowledged: the client was closed", None) for event in left)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(
                    target=self._send_until_closed, name="burnstream-client", daemon=True
                )
                self._thread = thread
                thread.start()

    def _send_until_closed(self) -> None:
        connection = self._connect()
        while batch := self._buffer.take(*self._batch):
            parts = [batch]
            while parts:
                part = parts.pop()
                judgement = self._post_until_judged(connection, part)
                if judgement is None:
                    return
                if judgement.fate is Fate.SPLIT:
                    half = len(part) // 2
                    parts += [part[half:], part[:half]]
                elif not self._settle(part, judgement):
                    return
        connection.close()

    def _post_until_judged(
        self, connection: Connection, events: Sequence[Tracked]
    ) -> Judgement | None:
        """Send until there is an answer that means something; None: the events were abandoned."""
        shortest, longest = self._backoff_seconds
        attempts = 0
        while True:
            try:
                judgement = judge(connection.post(events), len(events), datetime.now(UTC))
            except NoAnswerError as error:
                judgement = Judgement(Fate.AGAIN, reason=str(error))
            if judgement.fate is not Fate.AGAIN:
                return judgement
            backoff = min(shortest * 2**attempts, longest)
            seconds = max(judgement.wait_seconds, backoff * random.uniform(0.5, 1))  # noqa: S311
            log.warning("Events not taken, again in %.1f s: %s", seconds, judgement.reason)
            attempts = min(attempts + 1, 30)
            if not self._buffer.pause(seconds):
                return None

    def _settle(self, events: Sequence[Tracked], judgement: Judgement) -> bool:
        """Let go of what the gateway has decided; False: the events were abandoned meanwhile."""
        if not self._buffer.release(len(events)):
            return False
        refused = judgement.refused.items()
        self._refuse((events[at], reason, judgement.status) for at, reason in refused)
        self._buffer.settle(len(events))
        return True

    def _refuse(self, refused: Iterable[tuple[Tracked, str, int | None]]) -> None:
        for event, reason, status in refused:
            try:
                self._on_refused(Refusal(json.loads(event.json), reason, status))
            except Exception:
                log.exception("on_refused failed for event %s", event.event_id)

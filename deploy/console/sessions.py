"""Who is logged in: sessions in memory, which end with the process, and wrong keys per caller."""

import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

SESSION_SECONDS = 8 * 3600
SESSIONS_MAX = 1_000
FAILURES_MAX = 10
FAILURES_SECONDS = 60.0
CALLERS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that showed a key. `form_token` must come back with each form that it sends."""

    operator: str
    form_token: str
    ends_at: float


class Sessions:
    """Sessions by the id that the browser's cookie holds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[str, Session] = {}

    def begin(self, operator: str) -> str:
        """Open a session and return its id."""
        if len(self._sessions) >= SESSIONS_MAX:
            self._sessions.pop(next(iter(self._sessions)))
        session_id = secrets.token_urlsafe(32)
        ends_at = self._clock() + SESSION_SECONDS
        self._sessions[session_id] = Session(operator, secrets.token_urlsafe(32), ends_at)
        return session_id

    def find(self, session_id: str) -> Session | None:
        """Return the session, None when there is none (any more)."""
        session = self._sessions.get(session_id)
        if session is not None and self._clock() >= session.ends_at:
            self.end(session_id)
            return None
        return session

    def end(self, session_id: str) -> None:
        """Close a session."""
        self._sessions.pop(session_id, None)


class WrongKeys:
    """Counts wrong keys by caller: beyond ten in a minute they are not even looked at."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, deque[float]] = {}

    def add(self, caller: str) -> None:
        """Count one wrong key."""
        if caller not in self._failures and len(self._failures) >= CALLERS_MAX:
            self._failures.pop(next(iter(self._failures)))
        self._failures.setdefault(caller, deque(maxlen=FAILURES_MAX)).append(self._clock())

    def are_too_many(self, caller: str) -> bool:
        """Whether the caller must wait."""
        failures = self._failures.get(caller, ())
        recent = sum(self._clock() - at < FAILURES_SECONDS for at in failures)
        return recent >= FAILURES_MAX

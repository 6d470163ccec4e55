"""Stops asking a service that does not answer, so that its absence does not slow every request."""

import time
from collections.abc import Callable

import structlog

from gateway import metrics

_log = structlog.get_logger("gateway")


class CircuitBreaker:
    """After a failure the service is left alone for a pause; then one request tries it again."""

    def __init__(
        self, service: str, pause_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._service = service
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._closed_again_at: float | None = None

    def may_try(self) -> bool:
        """Whether to ask the service now. True for one caller per pause while it is away."""
        if self._closed_again_at is None:
            return True
        now = self._clock()
        if now < self._closed_again_at:
            return False
        self._closed_again_at = now + self._pause_seconds
        return True

    def failed(self, error: BaseException) -> None:
        """Note that the service did not answer."""
        if self._closed_again_at is None:
            metrics.OUTAGES.labels(self._service).inc()
            _log.warning(
                "Service away, going on without it", service=self._service, reason=repr(error)
            )
        self._closed_again_at = self._clock() + self._pause_seconds

    def succeeded(self) -> None:
        """Note that the service answered."""
        if self._closed_again_at is not None:
            _log.info("Service back", service=self._service)
            self._closed_again_at = None

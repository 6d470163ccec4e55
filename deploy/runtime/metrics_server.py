"""Serves a process's Prometheus metrics; several workers of one host find a free port each."""

import errno
import sys
from typing import Any

import structlog
from prometheus_client import start_http_server

from deploy.runtime.settings import PORT_MAX, refuse_setting

PORTS_TRIED_MAX = 50


log = structlog.get_logger("metrics")


def _say_hung_up(_request: Any, address: tuple[str, int]) -> None:
    """Say in one line that a caller went away amid his request: the library writes a traceback."""
    log.warning("Caller of the metrics hung up", caller=address[0], error=repr(sys.exception()))


def start_metrics_server(metrics_port: int, usual_port: int) -> int:
    """Serve /metrics on `metrics_port` (0: the usual one) or the next free port; return it.

    Ends the process with one line when there is none.
    """
    first = metrics_port or usual_port
    last = min(first + PORTS_TRIED_MAX - 1, PORT_MAX)
    for port in range(first, last + 1):
        try:
            server, _ = start_http_server(port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                refuse_setting("METRICS_PORT", metrics_port, f"a port to listen on: {error}")
        else:
            server.handle_error = _say_hung_up  # type: ignore[method-assign, assignment]
            log.info("Metrics served", port=port)
            return port
    return refuse_setting("METRICS_PORT", metrics_port, f"a free port in {first}..{last}")

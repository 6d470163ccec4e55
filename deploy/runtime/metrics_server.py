"""Serves a process's Prometheus metrics; several workers of one host find a free port each."""

import errno

import structlog
from prometheus_client import start_http_server

PORTS_TRIED_MAX = 50


def start_metrics_server(metrics_port: int, usual_port: int) -> int:
    """Serve /metrics on `metrics_port` (0: the usual one) or the next free port; return it."""
    first = metrics_port or usual_port
    for port in range(first, first + PORTS_TRIED_MAX):
        try:
            start_http_server(port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        structlog.get_logger("metrics").info("Metrics served", port=port)
        return port
    raise OSError(f"no free port for metrics in {first}..{first + PORTS_TRIED_MAX - 1}")

"""Structured logs: one event per line with its fields; readable on a terminal, else JSON."""

import logging
import sys
from typing import Any

import structlog

from deploy.runtime.services import NameService, services
from deploy.runtime.settings import RuntimeSettings

# Libraries that tell at INFO what only their developers read.
_REPEATS_INTERVAL_SECONDS = 10.0
_QUIET = ("aiokafka", "faust", "mode", "aiohttp.access", "asyncio", "kafka")


class _OncePerInterval(logging.Filter):
    """Lets a client library's line pass once in a while: without a broker they log 40 a second."""

    def __init__(self) -> None:
        super().__init__()
        self._passed_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(("aiokafka", "psycopg")):
            return True
        template = str(record.msg)
        if record.created - self._passed_at.get(template, 0.0) < _REPEATS_INTERVAL_SECONDS:
            return False
        self._passed_at[template] = record.created
        return True


def configure_logging(settings: RuntimeSettings, process: str, worker: int | None = None) -> None:
    """Send our logs and the libraries' through one pipeline to stdout. Called once per process."""
    is_console = settings.log_format == "console" or (
        settings.log_format == "auto" and sys.stdout.isatty()
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        NameService(services(settings)),
    ]
    if is_console:
        renderer: list[Any] = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(),
                sort_keys=False,  # as they were written: what matters first stands first
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    else:
        # Without local variables, which the default would print: they hold payloads and keys.
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        renderer = [
            structlog.processors.ExceptionRenderer(tracebacks),
            structlog.processors.JSONRenderer(),
        ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.log_level]
        ),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_OncePerInterval())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(process=process)
    if worker is not None:
        structlog.contextvars.bind_contextvars(worker=worker)

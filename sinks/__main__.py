"""`python -m sinks`: one sink worker; several of one host share an environment."""

import asyncio

import structlog

from deploy.runtime.garbage import spare_batches
from deploy.runtime.logs import configure_logging
from deploy.runtime.metrics_server import start_metrics_server
from deploy.runtime.settings import load_settings
from deploy.runtime.state_slot import acquire_slot
from deploy.runtime.tracing import start_tracing
from sinks.settings import USUAL_METRICS_PORT, SinkSettings


def main() -> None:
    """Read the environment and work until a signal."""
    settings = load_settings(SinkSettings)
    slot = acquire_slot(settings.state_dir, "sinks")
    configure_logging(settings, "sinks", slot.number)
    tracing = start_tracing("sinks")
    start_metrics_server(settings.metrics_port, USUAL_METRICS_PORT)

    from sinks.app import run  # Faust takes a second to import: metrics are served before

    spare_batches()
    structlog.get_logger("sinks").info("Sink started", topic=settings.topics.rated)
    asyncio.run(run(settings, slot, tracing))
    if tracing is not None:
        tracing.stop()


if __name__ == "__main__":
    main()

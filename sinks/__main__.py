"""`python -m sinks`: one sink worker; several of one host share an environment."""

import asyncio
import gc

import structlog

from deploy.runtime.logs import configure_logging
from deploy.runtime.metrics_server import start_metrics_server
from deploy.runtime.settings import load_settings
from deploy.runtime.state_slot import acquire_slot
from sinks.settings import USUAL_METRICS_PORT, SinkSettings

GC_OBJECTS = 50_000


def main() -> None:
    """Read the environment and work until a signal."""
    settings = load_settings(SinkSettings)
    slot = acquire_slot(settings.state_dir, "sinks")
    configure_logging(settings, "sinks", slot.number)
    start_metrics_server(settings.metrics_port, USUAL_METRICS_PORT)

    from sinks.app import run  # Faust takes a second to import: metrics are served before

    # What is imported stays; what is read becomes many objects, all dead after their transaction:
    # looked at after every 700 of them, as is usual, they are looked at in vain.
    gc.freeze()
    gc.set_threshold(GC_OBJECTS)
    structlog.get_logger("sinks").info("Sink started", topic=settings.topics.rated)
    asyncio.run(run(settings, slot))


if __name__ == "__main__":
    main()

"""`python -m streams`: one streams worker, until SIGTERM or Ctrl-C."""

import asyncio

from deploy.runtime.garbage import spare_batches
from deploy.runtime.logs import configure_logging
from deploy.runtime.metrics_server import start_metrics_server
from deploy.runtime.settings import load_settings
from deploy.runtime.state_slot import acquire_slot
from deploy.runtime.tracing import start_tracing
from streams.settings import StreamsSettings

METRICS_PORT = 9102


def main() -> None:
    """Read the environment and run one worker."""
    settings = load_settings(StreamsSettings)
    slot = acquire_slot(settings.state_dir, "streams")
    configure_logging(settings, "streams", slot.number)
    tracing = start_tracing("streams")
    start_metrics_server(settings.metrics_port, METRICS_PORT)

    async def run() -> None:
        from streams.app import StreamsWorker
        from streams.quick.warm_up import warm_up

        warm_up()  # here: no watchdog runs yet, and nobody waits
        spare_batches()
        await StreamsWorker(settings, slot.folder, tracing=tracing).run()

    asyncio.run(run())
    if tracing is not None:
        tracing.stop()


if __name__ == "__main__":
    main()

"""`python -m gateway`: one process of the gateway. Several may share host and port."""

import uvloop

from deploy.runtime.garbage import spare_batches
from deploy.runtime.logs import configure_logging
from deploy.runtime.metrics_server import start_metrics_server
from deploy.runtime.settings import load_settings
from deploy.runtime.tracing import start_tracing
from gateway.app import listen, serve
from gateway.connections import allow_many_connections
from gateway.settings import GatewaySettings

USUAL_METRICS_PORT = 9101


def main() -> None:
    """Read the environment and serve until told to stop."""
    settings = load_settings(GatewaySettings)
    configure_logging(settings, "gateway")
    tracing = start_tracing("gateway")
    spare_batches()
    allow_many_connections()
    with listen(settings) as listener:
        start_metrics_server(settings.metrics_port, USUAL_METRICS_PORT)
        uvloop.run(serve(settings, listener, tracing))
    if tracing is not None:
        tracing.stop()


if __name__ == "__main__":
    main()

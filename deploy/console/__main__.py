"""`python -m deploy.console`: the operator's pages."""

import asyncio
import sys

from deploy.console.admin_keys import AdminKeys
from deploy.console.app import serve
from deploy.console.settings import USUAL_METRICS_PORT, ConsoleSettings
from deploy.runtime.exit import ExitCode
from deploy.runtime.logs import configure_logging
from deploy.runtime.metrics_server import start_metrics_server
from deploy.runtime.settings import load_settings


def main() -> None:
    """Read the environment and serve until told to stop."""
    settings = load_settings(ConsoleSettings)
    try:
        keys = AdminKeys.parse(settings.admin_api_key.get_secret_value())
    except ValueError as error:
        sys.stderr.write(f"ADMIN_API_KEY: expected: {error}\n")
        sys.exit(ExitCode.USAGE)
    configure_logging(settings, "console")
    start_metrics_server(settings.metrics_port, USUAL_METRICS_PORT)
    asyncio.run(serve(settings, keys))


if __name__ == "__main__":
    main()

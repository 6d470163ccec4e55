"""The ledger as a command meets it: reachable, migrated, and whoever is at work in it."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import psycopg
import typer

from deploy.runtime.command_line import RefusedError, one_line_errors
from deploy.runtime.settings import RuntimeSettings, load_settings
from sinks import analysts, dead_letters, migrations, repair, scale, topic_admin, wallet_credit

CONNECT_TIMEOUT_SECONDS = 10

REFUSALS = (
    migrations.MigrationError,
    topic_admin.TopicDriftError,
    scale.ScaleError,
    wallet_credit.CreditError,
    dead_letters.DeadLetterError,
    repair.RepairError,
    analysts.AnalystError,
)

By = Annotated[str, typer.Option(help="Who decides; the operating system's user by default.")]
Why = Annotated[str, typer.Option("--reason", help="Why; kept with the decision.")]


def who(by: str) -> str:
    """Who decides, when nobody else is named."""
    try:
        return by or getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        raise RefusedError(
            "the operating system does not know who decides: say it by --by"
        ) from None


@contextmanager
def open_ledger() -> Iterator[tuple[RuntimeSettings, psycopg.Connection[Any]]]:
    """Settings and a connection to a migrated database; what fails is said in one line."""
    settings = load_settings(RuntimeSettings)
    with (
        one_line_errors(settings, REFUSALS),
        psycopg.connect(
            settings.database_url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            application_name="burnstream-command",
        ) as connection,
    ):
        missing = migrations.pending(connection)
        if missing:
            raise migrations.MigrationError(
                f"the database lacks {', '.join(missing)}; run `burnstream migrate`"
            )
        yield settings, connection

"""`burnstream analyst`: who may read the ledger's views."""

from typing import Annotated

import typer

from deploy.runtime.command_line import Json, examples, show
from sinks import analysts
from sinks.commands.ledger import open_ledger

app = typer.Typer(help="Roles that read the ledger's views.", no_args_is_help=True)


@app.callback()
def roles() -> None:
    """Roles that read the ledger's views."""


@app.command(epilog=examples("burnstream analyst create ann  # see docs/analyse.md"))
def create(
    name: Annotated[str, typer.Argument(help="Of the Postgres role.")], as_json: Json = False
) -> None:
    """Make a role that reads the views and nothing else; its password is shown this once."""
    with open_ledger() as (_, connection):
        password = analysts.create(connection, name)
    show(
        as_json,
        {"role": name, "password": password, "views": analysts.VIEWS},
        lambda: f"role {name} may read {', '.join(analysts.VIEWS)}\npassword {password}",
    )

"""Commands of the ledger: schema, topics, prices, top-ups, proof, and an operator's decisions."""

import typer

from sinks.commands.analyst import app as analyst_app
from sinks.commands.audit import app as audit_app
from sinks.commands.letters import app as letters_app
from sinks.commands.repair import app as repair_app
from sinks.commands.schema import app as schema_app
from sinks.commands.wallet import app as wallet_app

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
for commands in (schema_app, audit_app):
    app.add_typer(commands)
app.add_typer(wallet_app, name="wallet")
app.add_typer(analyst_app, name="analyst")
app.add_typer(letters_app, name="dead-letters")
app.add_typer(repair_app, name="repair")

"""The `burnstream` command: mounts the commands of each process. `burnstream --help` lists them."""

import typer

from deploy.bench.commands import app as bench_commands
from deploy.local.commands import app as local_commands
from gateway.commands import app as gateway_commands
from sinks.commands import app as sinks_commands
from streams.commands import app as streams_commands

app = typer.Typer(
    help="Usage metering and credit burning: every usage event charged exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for commands in (local_commands, sinks_commands, gateway_commands, streams_commands):
    app.add_typer(commands)
app.add_typer(bench_commands, name="bench")


def main() -> None:
    """Run the command line."""
    app(prog_name="burnstream")


if __name__ == "__main__":
    main()

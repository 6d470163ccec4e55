"""The `burnstream` command: mounts the commands of each process. `burnstream --help` lists them."""

import os
import sys
import traceback

import typer

from deploy.bench.commands import app as bench_commands
from deploy.doctor import app as doctor_commands
from deploy.jobs.commands import app as job_commands
from deploy.jobs.reprice_commands import app as reprice_commands
from deploy.local.commands import app as local_commands
from deploy.runtime.command_line import examples
from deploy.runtime.exit import ExitCode
from gateway.amend.commands import app as amend_commands
from gateway.commands import app as gateway_commands
from gateway.file_import.commands import app as import_commands
from gateway.reconcile.commands import app as reconcile_commands
from sinks.commands import app as sinks_commands
from streams.archive.commands import app as archive_commands
from streams.commands import app as streams_commands

_EXIT_CODES = "\n".join(
    ["[bold]Exit codes[/bold]", *(f"{code:<3d}  {code.meaning}" for code in ExitCode)]
)

app = typer.Typer(
    help="Usage metering and credit burning: every usage event charged exactly once.",
    epilog=examples(
        "burnstream run                   # everything on this machine, until Ctrl-C",
        "burnstream doctor                # what is away or missing, and the remedy",
        "burnstream topics --help         # examples of one command",
        "burnstream --install-completion  # Tab completes commands and options",
    )
    + "\n\n"
    + _EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for commands in (
    local_commands,
    doctor_commands,
    sinks_commands,
    gateway_commands,
    import_commands,
    amend_commands,
    reconcile_commands,
    streams_commands,
    job_commands,
    reprice_commands,
):
    app.add_typer(commands)
app.add_typer(archive_commands, name="archive")
app.add_typer(bench_commands, name="bench")


def main() -> None:
    """Run the command line; what nobody foresaw is said in one line, too."""
    try:
        app(prog_name="burnstream")
    except Exception as error:  # noqa: BLE001 -- the last stop
        if os.environ.get("LOG_LEVEL") == "DEBUG":
            traceback.print_exc()
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        print(
            f"burnstream: a bug: {cause}; run it again with LOG_LEVEL=DEBUG for what to report",
            file=sys.stderr,
        )
        sys.exit(ExitCode.BUG)


if __name__ == "__main__":
    main()

"""Commands for a machine without a container engine: `run`, `up`, `down`, `psql`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import typer

from deploy.local import kafka_jars, pipeline
from deploy.local.local_server import STOP_TIMEOUT_SECONDS
from deploy.local.ports import CannotStart
from deploy.local.postgres_server import psql_path
from deploy.local.progress import Progress
from deploy.local.servers import Addresses, running_servers, wait_for_end
from deploy.local.settings import LocalSettings
from deploy.runtime.command_line import Json, examples, show
from deploy.runtime.exit import ExitCode
from deploy.runtime.settings import load_settings

UP = "servers are up"

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.command(
    epilog=examples(
        "burnstream run                              # everything, until Ctrl-C",
        "STREAMS_WORKERS=2 PORT=8090 burnstream run  # variables: README, Configuration",
        "burnstream run --json | jq .                # where everything is, then the logs, as JSON",
    )
)
def run(as_json: Json = False) -> None:
    """Everything: servers, topics, schema, prices, a demo customer, the three processes."""
    settings = load_settings(LocalSettings)
    if as_json:
        settings = settings.model_copy(update={"log_format": "json"})
    with _said_in_one_line(), _stopped_by_signals():
        raise typer.Exit(pipeline.run(settings))


@app.command(epilog=examples("burnstream fetch  # a machine that will be without a network"))
def fetch(as_json: Json = False) -> None:
    """Download the files of the embedded servers that the Python packages do not carry."""
    with _said_in_one_line():
        folder = kafka_jars.fetch(load_settings(LocalSettings).state_dir, Progress())
    files = len(list(folder.iterdir()))
    show(as_json, {"folder": str(folder), "files": files}, lambda: f"{files} files in {folder}")


@app.command(
    epilog=examples(
        "burnstream up                             # then burnstream migrate, topics, seed",
        "KAFKA_PORT=0 burnstream up                # on a free port, which is printed",
        "burnstream up --json | jq -r .database_url",
    )
)
def up(as_json: Json = False) -> None:
    """The embedded servers alone, in the background, until `down`."""
    settings = load_settings(LocalSettings)
    with _said_in_one_line():
        running = running_servers(settings.state_dir)
    if running is not None:
        _show_addresses(running[0], as_json, was_up=True)
        return
    keeper = subprocess.Popen(
        [sys.executable, "-m", "deploy.local", "keep"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path.cwd(),
    )
    is_up = False
    for line in keeper.stderr or ():
        if line.strip() == UP:
            is_up = True
            break
        print(line, end="", file=sys.stderr)
    if not is_up:
        raise typer.Exit(keeper.wait())
    running = running_servers(settings.state_dir)
    if running is None:
        raise typer.Exit(ExitCode.FAILED)
    _show_addresses(running[0], as_json, was_up=False)


@app.command(hidden=True)
def keep() -> None:
    """What `up` leaves in the background: starts the servers and stops them when it is told to."""
    settings = load_settings(LocalSettings)
    with (
        _said_in_one_line(),
        _stopped_by_signals(),
        settings.servers(Progress()),
        (settings.state_dir / "servers.log").open("a") as log,
    ):
        print(UP, file=sys.stderr, flush=True)
        os.dup2(log.fileno(), sys.stderr.fileno())
        while True:
            signal.pause()


@app.command(epilog=examples("burnstream down"))
def down(as_json: Json = False) -> None:
    """Stop the embedded servers; their data stay."""
    state_dir = load_settings(LocalSettings).state_dir
    with _said_in_one_line():
        running = running_servers(state_dir)
    if running is None:
        show(as_json, {"stopped": False}, lambda: "no servers are up")
        return
    os.kill(running[1], signal.SIGTERM)
    if not wait_for_end(state_dir, 3 * STOP_TIMEOUT_SECONDS):
        print(f"the servers have not ended: see process {running[1]}", file=sys.stderr)
        raise typer.Exit(ExitCode.FAILED)
    show(as_json, {"stopped": True}, lambda: f"servers stopped; their data stay in {state_dir}")


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog=examples(
        "burnstream psql                                  # until \\q",
        "burnstream psql -c 'SELECT count(*) FROM \"UsageEvent\"'",
        "burnstream psql --csv -c 'TABLE \"CreditWallet\"'  # for a machine",
    ),
)
def psql(context: typer.Context) -> None:
    """The bundled psql on the database; arguments are passed on to it."""
    settings = load_settings(LocalSettings)
    address = settings.database_url
    with _said_in_one_line():
        running = running_servers(settings.state_dir)
        program = str(psql_path())
    if running is not None and "database_url" not in settings.model_fields_set:
        address = running[0].database_url
    sys.stdout.flush()
    os.execv(program, [program, address, *context.args])  # noqa: S606 -- becomes psql


def _show_addresses(addresses: Addresses, as_json: bool, *, was_up: bool) -> None:
    def text() -> str:
        lines = [
            f"Kafka     {addresses.kafka_bootstrap}",
            f"Postgres  {addresses.database_url}",
            f"Redis     {addresses.redis_url or 'none'}",
            f"psql      make psql, or {psql_path()}",
        ]
        return "\n".join(["servers are already up", *lines] if was_up else lines)

    show(as_json, asdict(addresses) | {"was_up": was_up, "psql": str(psql_path())}, text)


@contextmanager
def _said_in_one_line() -> Iterator[None]:
    try:
        yield
    except CannotStart as reason:
        print(f"burnstream: {reason}", file=sys.stderr)
        raise typer.Exit(ExitCode.USAGE) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.OK) from None


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """SIGTERM and a closed terminal end us as Ctrl-C does, once: the end itself is not cut off."""

    def end(number: int, frame: object) -> None:  # noqa: ARG001 -- the signature of a handler
        for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(ending, signal.SIG_IGN)
        raise KeyboardInterrupt

    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, end)
    yield

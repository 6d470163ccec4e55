"""Commands for a machine without a container engine: `run`, `up`, `down`, `psql`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from deploy.local import kafka_jars, pipeline
from deploy.local.local_server import STOP_TIMEOUT_SECONDS
from deploy.local.ports import CannotStart
from deploy.local.postgres_server import psql_path
from deploy.local.progress import Progress
from deploy.local.servers import Addresses, running_servers, wait_for_end
from deploy.local.settings import LocalSettings
from deploy.runtime.exit import ExitCode
from deploy.runtime.settings import load_settings

UP = "servers are up"

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def run() -> None:
    """Everything: servers, topics, schema, prices, a demo customer, the three processes."""
    with _said_in_one_line(), _stopped_by_signals():
        raise typer.Exit(pipeline.run(load_settings(LocalSettings)))


@app.command()
def fetch() -> None:
    """Download the files of the embedded servers that the Python packages do not carry."""
    with _said_in_one_line():
        kafka_jars.fetch(load_settings(LocalSettings).state_dir, Progress())


@app.command()
def up() -> None:
    """The embedded servers alone, in the background, until `down`."""
    settings = load_settings(LocalSettings)
    running = running_servers(settings.state_dir)
    if running is not None:
        print("servers are already up")
        _print_addresses(running[0])
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
    _print_addresses(running[0])


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


@app.command()
def down() -> None:
    """Stop the embedded servers; their data stay."""
    state_dir = load_settings(LocalSettings).state_dir
    running = running_servers(state_dir)
    if running is None:
        print("no servers are up")
        return
    os.kill(running[1], signal.SIGTERM)
    if not wait_for_end(state_dir, 3 * STOP_TIMEOUT_SECONDS):
        print(f"the servers have not ended: see process {running[1]}", file=sys.stderr)
        raise typer.Exit(ExitCode.FAILED)
    print(f"servers stopped; their data stay in {state_dir}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context) -> None:
    """The bundled psql on the database; arguments are passed on: `psql -c 'SELECT 1'`."""
    settings = load_settings(LocalSettings)
    running = running_servers(settings.state_dir)
    address = settings.database_url
    if running is not None and "database_url" not in settings.model_fields_set:
        address = running[0].database_url
    with _said_in_one_line():
        program = str(psql_path())
    sys.stdout.flush()
    os.execv(program, [program, address, *context.args])  # noqa: S606 -- becomes psql


def _print_addresses(addresses: Addresses) -> None:
    print(f"Kafka     {addresses.kafka_bootstrap}")
    print(f"Postgres  {addresses.database_url}")
    print(f"Redis     {addresses.redis_url or 'none'}")
    print(f"psql      make psql, or {psql_path()}")


@contextmanager
def _said_in_one_line() -> Iterator[None]:
    try:
        yield
    except CannotStart as reason:
        print(reason, file=sys.stderr)
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

"""What every command shares: text or JSON, examples in its help, and errors that name a remedy."""

import base64
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, NoReturn

import typer

from deploy.runtime.exit import ExitCode
from deploy.runtime.services import Service, services
from deploy.runtime.settings import RuntimeSettings

_asked_for_json = ContextVar("_asked_for_json", default=False)


def _note(value: bool) -> bool:
    _asked_for_json.set(value)
    return value


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.", callback=_note)]

_LIBPQ_ASKS = "Is the server running on that host and accepting TCP/IP connections?"
# Of Postgres's errors: connection, authorisation, no such database, an operator's intervention.
_UNAVAILABLE_CLASSES = ("08", "28", "3D", "57")


class RefusedError(Exception):
    """A command is refused; the message says why and what to do."""


def examples(*lines: str) -> str:
    """A command's epilog: lines to copy, each `burnstream ...  # what for`."""
    return "\n".join(["[bold]Examples[/bold]", *(f"$ {line}" for line in lines)])


def show(as_json: bool, data: object, text: Callable[[], str]) -> None:
    """Print a command's result."""
    print(json.dumps(data, default=plain) if as_json else text())


def plain(value: object) -> object:
    """JSON of what json does not know: times as ISO 8601, exact decimals as text, bytes."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    isoformat = getattr(value, "isoformat", None)
    return isoformat() if isoformat else str(value)


def fail(message: str, code: ExitCode = ExitCode.FAILED) -> NoReturn:
    """End the command with one line on stderr; of a command that was asked for JSON, as JSON."""
    as_json = json.dumps({"error": message, "exitCode": code})
    said = as_json if _asked_for_json.get() else f"burnstream: {message}"
    print(said, file=sys.stderr)
    raise typer.Exit(code)


def hush_clients() -> None:
    """Let client libraries be silent: what they log they raise, too, and one line says it."""
    for name in ("aiokafka", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def one_line_errors(
    settings: RuntimeSettings, refusals: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turn refusals and the errors of Kafka and Postgres into one line: cause, place, remedy."""
    hush_clients()
    try:
        yield
    except Exception as error:
        if isinstance(error, (*refusals, RefusedError)):
            fail(str(error))
        said = explain(error, settings)
        if said is None:
            raise
        fail(*said)


def explain(error: Exception, settings: RuntimeSettings) -> tuple[str, ExitCode] | None:
    """The line and the exit code of an error of Kafka or Postgres; None for any other."""
    # Imported where something failed: a cold start of the command line must be quick.
    import psycopg
    from aiokafka.errors import KafkaError

    known = services(settings)
    if isinstance(error, psycopg.Error):
        return _explain_postgres(error, known["database"])
    if isinstance(error, KafkaError):
        return _explain_kafka(error, known["queue"], settings.topics.raw)
    if isinstance(error, TimeoutError):
        said = f"{known['queue']} did not answer in time; what was acknowledged stays so"
        return f"{said}; {known['queue'].remedy}", ExitCode.UNAVAILABLE
    return None


def _explain_postgres(error: Exception, postgres: Service) -> tuple[str, ExitCode]:
    import psycopg

    if isinstance(error, psycopg.errors.UndefinedTable):
        return f"{postgres} is not migrated: run `burnstream migrate`", ExitCode.FAILED
    said = str(error).replace(_LIBPQ_ASKS, "")
    cause = " ".join(said.split()) or type(error).__name__
    code = getattr(error, "sqlstate", None) or ""
    if isinstance(error, psycopg.OperationalError) and code[:2] in {"", *_UNAVAILABLE_CLASSES}:
        return f"{postgres}: {cause}; {postgres.remedy}", ExitCode.UNAVAILABLE
    return f"{postgres}: {cause}", ExitCode.FAILED


def _explain_kafka(error: Exception, kafka: Service, topic: str) -> tuple[str, ExitCode]:
    from aiokafka.errors import UnknownTopicOrPartitionError

    if isinstance(error, UnknownTopicOrPartitionError):
        said = f"{kafka} lacks {topic}, a topic of its kind or a partition of one"
        return f"{said}: run `burnstream topics`", ExitCode.FAILED
    return f"{kafka}: {error!r}; {kafka.remedy}", ExitCode.UNAVAILABLE

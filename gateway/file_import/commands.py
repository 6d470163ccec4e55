"""`burnstream import`."""

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from deploy.runtime.command_line import Json, RefusedError, examples, one_line_errors, show
from deploy.runtime.exit import ExitCode
from deploy.runtime.progress_bar import progress_bar
from deploy.runtime.settings import load_settings
from gateway.file_import import progress_file
from gateway.file_import.columns import Columns, MappingError
from gateway.file_import.load import Job, load
from gateway.file_import.progress_file import OtherFileError, Progress
from gateway.file_import.rows import FileError, Format, Rows, format_of
from gateway.file_import.summary import LedgerOfFile, Summary, accepted, settled
from gateway.settings import GatewaySettings

_LOOK_SECONDS = 1.0
_PARTS = 1_000  # of a file, for the bar

app = typer.Typer()


@app.command(
    "import",
    epilog=examples(
        "burnstream import may.ndjson.gz",
        "burnstream import may.csv --map customer_id=account --map timestamp='used at' "
        "--set event_type=TOKEN_USAGE --set feature_id=backfill",
        "zcat may.json.gz | burnstream import - --format ndjson --source may",
    ),
)
def import_file(
    *,
    file: Annotated[str, typer.Argument(help="NDJSON, CSV or Parquet, gzip or zstd; - is stdin.")],
    file_format: Annotated[
        Format | None, typer.Option("--format", help="Where the name does not tell.")
    ] = None,
    fields: Annotated[
        list[str] | None, typer.Option("--map", help="FIELD=COLUMN, of a table's other names.")
    ] = None,
    constants: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE, the same in every row.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Names rows without event_id; the file's name by default."),
    ] = None,
    rate: Annotated[float, typer.Option(min=1, help="Events a second, at most.")] = 5_000,
    rejects: Annotated[
        Path | None, typer.Option(help="Where bad rows go; FILE.rejects by default.")
    ] = None,
    wait_seconds: Annotated[
        float, typer.Option(min=0, help="For the ledger to settle what was sent.")
    ] = 300,
    as_json: Json = False,
) -> None:
    """Charge the events of a file, each once: killed or repeated, run it again."""
    settings = load_settings(GatewaySettings)
    refusals = (FileError, MappingError, OtherFileError)
    with one_line_errors(settings, refusals), _at_hand(file, file_format, source) as (path, kind):
        columns = Columns(pairs("--map", fields), pairs("--set", constants))
        known_as = source or path.name
        own = path if file != "-" else Path(known_as)
        job = Job(
            rows=Rows(path, kind, columns),
            source=known_as,
            kept=own.with_name(own.name + ".progress"),
            rejects=rejects or own.with_name(own.name + ".rejects"),
            events_per_second=rate,
        )
        job.rows.require_readable()
        meaning = f"{kind} {known_as} {sorted(columns.fields.items())} " + str(
            sorted(columns.constants.items())
        )
        progress = progress_file.load(job.kept, progress_file.fingerprint(path, meaning))
        with progress_bar("import: of the file") as tell:
            asyncio.run(
                load(settings, job, progress, lambda share: tell(round(share * _PARTS), _PARTS))
            )
        found = _settle(settings, job, wait_seconds)
    show(
        as_json,
        asdict(found) | {"rows": asdict(progress), "rejects": str(job.rejects)},
        lambda: "\n".join(_lines(found, progress, job)),
    )
    if progress.rejected or found.unsettled:
        raise typer.Exit(ExitCode.FAILED)


def _settle(settings: GatewaySettings, job: Job, wait_seconds: float) -> Summary:
    until = time.monotonic() + wait_seconds

    def pause() -> bool:
        time.sleep(min(_LOOK_SECONDS, max(0.0, until - time.monotonic())))
        return time.monotonic() < until

    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        ledger = LedgerOfFile(connection)
        ledger.add(accepted(job.rows, job.source, settings.timestamp_policy))
        with progress_bar("import: settled") as tell:
            return settled(ledger, pause, tell)


def _lines(found: Summary, progress: Progress, job: Job) -> Iterator[str]:
    yield f"{progress.accepted:,} rows sent, {progress.rejected:,} rejected"
    if progress.rejected:
        yield f"  rejected rows and why: {job.rejects}"
    yield (
        f"of {found.events:,} events the ledger has charged {found.charged:,}: "
        f"{found.credits:,} credits, {found.cost_usd:f} USD"
    )
    for outcome, events in sorted(found.rest.items()):
        yield f"  {outcome}: {events:,}"
    if found.unsettled:
        yield "  unsettled: are streams and sinks running? The same command looks again"


def pairs(option: str, given: list[str] | None) -> dict[str, str]:
    """Read an option's NAME=VALUE. Raises RefusedError."""
    pairs = {}
    for text in given or []:
        name, is_pair, value = text.partition("=")
        if not is_pair or not name or not value:
            raise RefusedError(f"{option} {text!r}: expected NAME=VALUE")
        pairs[name] = value
    return pairs


@contextmanager
def _at_hand(
    file: str, file_format: Format | None, source: str | None
) -> Iterator[tuple[Path, Format]]:
    """The file on disk, and what it is. It is read twice, so stdin is kept meanwhile."""
    if file != "-":
        path = Path(file)
        if not path.is_file():
            raise FileError(f"{path}: there is no such file")
        yield path, file_format or format_of(path)
        return
    if file_format is None or source is None:
        raise FileError("of stdin, say what it is (--format) and its name (--source)")
    with tempfile.NamedTemporaryFile() as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.flush()
        yield Path(kept.name), file_format

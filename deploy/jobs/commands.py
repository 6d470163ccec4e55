"""`burnstream replay` and `burnstream backfill`."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import psycopg
import typer

from deploy.jobs.options import Archive, Customers, End, Features, Models, Name, Rate, Start
from deploy.jobs.plan import PlanError, Request
from deploy.runtime.command_line import Json, examples, one_line_errors, show
from deploy.runtime.exit import ExitCode
from deploy.runtime.progress_bar import progress_bar
from deploy.runtime.settings import RuntimeSettings, load_settings
from schemas.formats import NewerFormatError
from sinks.migrations import MigrationError, pending
from streams.archive.segments import ArchiveError

_LOOK_SECONDS = 0.5
_REFUSALS = (PlanError, MigrationError, ArchiveError, NewerFormatError)

app = typer.Typer()


@app.command(
    epilog=examples(
        "burnstream replay june --from 2026-06-01T00:00Z --to 2026-07-01T00:00Z",
        "burnstream replay acme --from 0:1200 --to 0:5000 --customer acme",
        "burnstream replay june         # goes on, where it was killed; compares again",
        "burnstream replay june --drop  # removes its schema and its topic",
    )
)
def replay(
    *,
    name: Name,
    start: Start = None,
    end: End = None,
    customers: Customers = None,
    models: Models = None,
    features: Features = None,
    source: Annotated[
        str | None, typer.Option(help="Another topic of usage events; usage.raw by default.")
    ] = None,
    archive: Archive = None,
    prices: Annotated[
        str,
        typer.Option(
            help="as-billed: what each batch was rated by; now: today's, and today's customers."
        ),
    ] = "as-billed",
    partitions: Annotated[
        list[int] | None,
        typer.Option("--partition", help="Only these here; other processes take the rest."),
    ] = None,
    rate: Rate = 5_000,
    drop: Annotated[bool, typer.Option("--drop", help="Remove the job instead.")] = False,
    as_json: Json = False,
) -> None:
    """Charge a span of the log again, in a ledger beside the live one, and compare the two."""
    if prices not in ("as-billed", "now"):
        raise typer.BadParameter("as-billed or now", param_hint="--prices")
    who, which, what = (tuple(one or ()) for one in (customers, models, features))
    folder = None if archive is None else str(archive.resolve())
    asked = Request(start, end, who, which, what, source, folder, prices)
    if drop:
        _drop(name, as_json=as_json)
    else:
        _replay(name, asked, partitions or [], rate, as_json=as_json)


def _drop(name: str, *, as_json: bool) -> None:
    from deploy.jobs import shadow

    settings = load_settings(RuntimeSettings)
    with ledger(settings) as connection, shadow.only_run(connection, name):
        is_dropped = asyncio.run(shadow.drop(settings, connection, name))
    said = f"{name} is removed" if is_dropped else f"there is no job {name}"
    show(as_json, {"job": name, "dropped": is_dropped}, lambda: said)


def _replay(
    name: str, asked: Request, partitions: list[int], rate: float, *, as_json: bool
) -> None:
    from deploy.jobs import compare, shadow
    from deploy.jobs import replay as replaying
    from streams.settings import StreamsSettings

    settings = load_settings(StreamsSettings)
    with ledger(settings) as connection:
        with shadow.only_run(connection, name):
            job = asyncio.run(replaying.begin(settings, connection, name, asked))
        if job.has_own_prices:
            raise PlanError(f"{name} has prices of its own: burnstream reprice {name}")
        with progress_bar("replay: offsets, rated and applied") as tell:
            work = replaying.run(
                settings,
                connection,
                job,
                events_per_second=rate,
                partitions=partitions,
                tell=tell,
            )
            is_whole = asyncio.run(work)
        if not is_whole:
            said = f"{name}: other partitions are not at their end; who ends last compares"
            show(as_json, {"job": name, "whole": False}, lambda: said)
            return
        found = compare.compare(connection, job)
    show(
        as_json,
        {"job": name, "finishedBefore": job.is_finished, **asdict(found), "equal": found.is_equal},
        lambda: "\n".join(_lines(job.is_finished, name, found)),
    )
    if not found.is_equal:
        raise typer.Exit(ExitCode.FAILED)


def _lines(was_finished: bool, name: str, found: Any) -> Iterator[str]:
    if was_finished:
        yield f"{name} was finished before; compared again"
    for one in found.partitions:
        sign = "equal" if one.live_hash == one.shadow_hash else "DIFFERENT"
        yield (
            f"partition {one.partition}: {one.live} entries live, {one.shadow} replayed, "
            f"{one.customers} customers: {sign} ({one.shadow_hash[:12]})"
        )
    for one in found.differences:
        what = f"{one.verdict} {one.key} of {one.customer_id or 'nobody known'}"
        if one.kind == "differs":
            for field, (live, shadow) in sorted(one.fields.items()):
                yield f"  {what}: {field} is {live} live, {shadow} replayed"
        else:
            yield f"  {what}: {one.kind}"
    for warning in found.warnings:
        yield f"note: {warning}"


@contextmanager
def ledger(
    settings: Any, refusals: tuple[type[Exception], ...] = ()
) -> Iterator[psycopg.Connection[Any]]:
    """Connect to a ledger that is migrated; what is refused is said in one line."""
    with (
        one_line_errors(settings, _REFUSALS + refusals),
        psycopg.connect(
            settings.database_url, autocommit=True, application_name="burnstream-job"
        ) as connection,
    ):
        missing = pending(connection)
        if missing:
            raise MigrationError(
                f"the database lacks {', '.join(missing)}; run `burnstream migrate`"
            )
        yield connection


@app.command(
    epilog=examples(
        "burnstream backfill june                # what would be charged; changes nothing",
        "burnstream backfill june --apply        # charge it, each event once",
        "burnstream backfill june --apply --events-per-second 200",
    )
)
def backfill(
    *,
    name: Name,
    apply: Annotated[bool, typer.Option("--apply", help="Charge; else it is told only.")] = False,
    rate: Rate = 1_000,
    wait_seconds: Annotated[
        float, typer.Option(min=0, help="For the ledger to settle what was written.")
    ] = 300,
    as_json: Json = False,
) -> None:
    """Charge in the live ledger what a replay charged and it lacks; repeated, nothing more."""
    from deploy.jobs import backfill as filling
    from deploy.jobs import shadow
    from streams.settings import StreamsSettings

    settings = load_settings(StreamsSettings)
    with ledger(settings) as connection, shadow.only_run(connection, name):
        job = shadow.find(connection, name)
        if job is None or not job.is_finished:
            raise PlanError(f"first bring the replay to its end: burnstream replay {name}")
        written, refused = 0, dict[str, str]()
        if apply:
            with progress_bar("backfill: events written") as tell:
                written, refused = asyncio.run(
                    filling.write(settings, connection, job, events_per_second=rate, tell=tell)
                )
        until = time.monotonic() + (wait_seconds if apply else 0)
        while (found := filling.outcome(connection, job)).unsettled and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
        found.written, found.refused = written, refused
    show(as_json, {"job": name, "applied": apply, **asdict(found)}, lambda: _told(apply, found))
    if apply and (found.unsettled or found.refused):
        raise typer.Exit(ExitCode.FAILED)


def _told(is_applied: bool, found: Any) -> str:
    lines = [f"the live ledger lacks {found.missing:,} events, {found.credits:,} credits"]
    if is_applied:
        lines.append(f"{found.written:,} written to usage.raw by this run")
    elif found.missing:
        lines.append("nothing was written: --apply charges them")
    lines.append(
        f"charged by this job: {found.charged:,} events, {found.charged_credits:,} credits"
    )
    if found.charged_otherwise:
        lines.append(f"charged by somebody else's record meanwhile: {found.charged_otherwise:,}")
    if found.unsettled:
        lines.append(
            f"not charged yet: {found.unsettled:,}; look at burnstream dead-letters, and whether "
            "streams and sinks run"
        )
    lines += [f"  refused {event_id}: {why}" for event_id, why in (found.refused or {}).items()]
    return "\n".join(lines)

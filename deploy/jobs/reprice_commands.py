"""`burnstream reprice`."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from deploy.jobs.commands import ledger
from deploy.jobs.correction_rows import CorrectionError
from deploy.jobs.options import Archive, Customers, End, Features, Models, Name, Rate, Start
from deploy.jobs.other_prices import NAME_PREFIX, OtherPrices
from deploy.jobs.plan import Request
from deploy.jobs.price_report import Format, Report
from deploy.runtime.command_line import Json, examples, show
from deploy.runtime.progress_bar import progress_bar
from deploy.runtime.settings import load_settings

app = typer.Typer()


@app.command(
    epilog=examples(
        "burnstream reprice june --prices new.csv --from 2026-06-01T00:00Z --to 2026-07-01T00:00Z",
        "burnstream reprice acme --burn-table acme.json --customer acme",
        "burnstream reprice then --known-at 2026-06-15T00:00Z  # by what was known that day",
        "burnstream reprice june --apply   # writes the corrections, each once",
    )
)
def reprice(
    *,
    name: Name,
    prices: Annotated[
        list[Path] | None,
        typer.Option(
            help="A CSV of prices, as `burnstream seed` has them, instead of what is known of the "
            "same provider, model and cost type."
        ),
    ] = None,
    burn_tables: Annotated[
        list[Path] | None,
        typer.Option("--burn-table", help="JSON: a customer's own rates, instead of those it has."),
    ] = None,
    known_at: Annotated[
        str | None,
        typer.Option(help="What was known at that time (with its zone); by itself: what is now."),
    ] = None,
    start: Start = None,
    end: End = None,
    customers: Customers = None,
    models: Models = None,
    features: Features = None,
    archive: Archive = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Write the corrections; else it is told only.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--report", help="Where the report goes; reprice-JOB by default.")
    ] = None,
    kind: Annotated[str, typer.Option("--format", help="csv or parquet.")] = "csv",
    rate: Rate = 5_000,
    as_json: Json = False,
) -> None:
    """Tell what a span of the log costs at other prices; with --apply, correct what was charged."""
    if kind not in ("csv", "parquet"):
        raise typer.BadParameter("csv or parquet", param_hint="--format")
    who, which, what = (tuple(one or ()) for one in (customers, models, features))
    place = None if archive is None else str(archive.resolve())
    span = Request(start, end, who, which, what, archive=place)
    wanted = OtherPrices(_moment(known_at), tuple(prices or ()), tuple(burn_tables or ()))
    report = Report(folder or Path(f"reprice-{name}"), cast("Format", kind))
    _reprice(name, span, wanted, report, rate, apply=apply, as_json=as_json)


def _reprice(
    name: str,
    span: Request,
    wanted: OtherPrices,
    report: Report,
    rate: float,
    *,
    apply: bool,
    as_json: bool,
) -> None:
    from deploy.jobs import reprice as repricing
    from streams.settings import StreamsSettings

    settings = load_settings(StreamsSettings)
    with ledger(settings, (CorrectionError,)) as connection:
        job = repricing.begin(settings, connection, name, span, wanted)
        with progress_bar("reprice: offsets, rated and applied") as tell:
            work = repricing.run(settings, connection, job, events_per_second=rate, tell=tell)
            asyncio.run(work)
        written = 0
        if apply:
            with progress_bar("reprice: corrections written") as tell:
                written = repricing.apply(connection, job, tell)
        total = repricing.compare(connection, job)
        rows = repricing.report(connection, job)
        done = repricing.corrections(connection, job)
        facts = {
            "job": name,
            "prices": job.request.prices.removeprefix(NAME_PREFIX),
            "is_applied": done.events > 0,
            "total": total,
        }
        paths = report.write(rows, facts)
    show(
        as_json,
        {
            "job": name,
            "applied": apply,
            "written": written,
            "total": asdict(total),
            "corrections": asdict(done),
            "report": [str(path) for path in paths],
        },
        lambda: _told(apply, written, total, done, paths),
    )


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r} is no time with its zone (2026-06-01T00:00Z)", param_hint="--known-at"
        )
    return moment.astimezone(UTC)


def _told(is_applied: bool, written: int, total: Any, done: Any, paths: list[Path]) -> str:
    more = total.credits_after - total.credits_before
    lines = [
        f"{total.events:,} events",
        (
            f"credits: {total.credits_billed:,} billed, {total.credits_before:,} with corrections, "
            f"{total.credits_after:,} at these prices: {more:+,}"
        ),
        f"cost {total.cost_usd_billed:,f} USD as billed, {total.cost_usd_after:,f} at these prices",
    ]
    if total.not_billed:
        lines.append(f"not charged in the ledger, so not corrected: {total.not_billed:,}")
    if total.no_longer_priced:
        lines.append(f"without a price here, so not corrected: {total.no_longer_priced:,}")
    if is_applied:
        lines.append(f"{written:,} corrections written by this run")
    elif total.events_changed:
        lines.append(f"nothing was written: --apply corrects {total.events_changed:,} events")
    if done.events:
        lines.append(
            f"corrected by this job: {done.events:,} events, {done.credits_taken:,} credits taken, "
            f"{done.credits_given_back:,} given back"
        )
    return "\n".join([*lines, *(f"report: {path}" for path in paths)])

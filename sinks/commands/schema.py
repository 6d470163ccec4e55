"""`burnstream migrate`, `topics`, `scale`, `seed`: what comes before any charge."""

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from deploy.runtime.command_line import Json, examples, one_line_errors, show
from deploy.runtime.progress_bar import with_progress
from deploy.runtime.settings import RuntimeSettings, load_settings
from sinks import migrations, topic_admin
from sinks import scale as topic_growth
from sinks import seed as provider_costs
from sinks.commands.ledger import REFUSALS, open_ledger

app = typer.Typer()


@app.command(
    epilog=examples(
        "burnstream migrate         # a new database, or a new release",
        "burnstream migrate --json  # which migrations were applied",
    )
)
def migrate(as_json: Json = False) -> None:
    """Bring the database's schema up to this version; the same again changes nothing."""
    settings = load_settings(RuntimeSettings)
    with one_line_errors(settings, REFUSALS):
        applied = migrations.migrate(
            settings.database_url,
            watch=lambda missing: with_progress("migrate: files", missing, len(missing)),
        )
    show(
        as_json,
        {"applied": applied},
        lambda: "\n".join(f"applied {name}" for name in applied) or "schema is up to date",
    )


@app.command(
    epilog=examples(
        "burnstream topics                 # make what is missing, compare the rest",
        "burnstream topics --partitions 8  # so many when they are made",
    )
)
def topics(
    partitions: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Of usage.raw; 4, or as many as there are."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the Kafka topics and their ledger positions; refuse when what exists differs."""
    with open_ledger() as (settings, connection):
        report = asyncio.run(topic_admin.ensure_topics(settings, connection, partitions))
    for warning in report.warnings:
        print(f"burnstream: {warning}", file=sys.stderr)
    show(
        as_json,
        asdict(report),
        lambda: (
            "\n".join(f"created {name}" for name in report.created)
            or f"topics are as they should be ({report.partitions} partitions)"
        ),
    )


@app.command(epilog=examples("burnstream scale --partitions 8  # from 4, while everything runs"))
def scale(
    partitions: Annotated[
        int, typer.Option(min=1, max=1024, help="Of usage.raw; as many as there are, or more.")
    ],
    as_json: Json = False,
) -> None:
    """Add partitions while everything runs; killed in between, run it again."""
    with open_ledger() as (settings, connection):
        report = asyncio.run(topic_growth.scale(settings, connection, partitions))
    show(as_json, asdict(report), lambda: "\n".join(_scale_lines(report)))


def _scale_lines(report: topic_growth.ScaleReport) -> Iterator[str]:
    if report.positions:
        yield f"SinkOffset: {report.positions} positions added"
    for one in report.grown:
        yield f"{one.topic}: {one.before} -> {one.partitions} partitions"
    if not report.grown:
        yield f"nothing to add: there are {report.partitions} partitions"
        return
    yield (
        "Gateways write to them and workers share them out within seconds, by themselves; nothing "
        "is to be restarted. Other producers follow when their clients look again (5 minutes, "
        "usually)."
    )
    yield (
        "New events of many customers go to another partition than their earlier ones. A duplicate "
        "of one that lies there is charged no more than before, but it is Postgres that finds it: "
        "expect more conflicts for the length of the dedupe window."
    )


@app.command(epilog=examples("burnstream seed  # after migrate, and after an update of Burnstream"))
def seed(as_json: Json = False) -> None:
    """Add the provider costs that ship with this version; edits and deletions stay as they are."""
    with open_ledger() as (_, connection):
        added = provider_costs.seed(connection)
    show(as_json, {"added": added}, lambda: f"added {added} provider costs")

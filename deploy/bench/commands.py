"""`burnstream bench`: how fast each stage is on this machine."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.local.ports import CannotStart
from deploy.local.progress import Progress
from deploy.local.servers import REPOSITORY
from deploy.runtime.command_line import examples, fail
from deploy.runtime.progress_bar import with_progress

if TYPE_CHECKING:  # Imported where they are used: a cold start of the command line must be quick.
    from collections.abc import Callable, Sequence

    from deploy.bench.arena import Arena
    from deploy.bench.figures import Figure

    OneRun = Callable[[Arena, int], Sequence[Figure]]

app = typer.Typer(no_args_is_help=True)

Events = Annotated[int, typer.Option(min=500, help="Events, a fifth of them to warm up.")]
Customers = Annotated[int, typer.Option(min=1, help="Customers, of very different size.")]
Runs = Annotated[int, typer.Option(min=1, help="Runs; given is the median.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per figure.")]


@app.callback()
def given(
    context: typer.Context,
    kafka_bootstrap: Annotated[str | None, typer.Option(help="host:port of a Kafka.")] = None,
    database_url: Annotated[
        str | None, typer.Option(help="A Postgres to make databases on.")
    ] = None,
    redis_url: Annotated[str | None, typer.Option(help="A Redis.")] = None,
    code: Annotated[Path, typer.Option(help="Checkout whose processes are measured.")] = REPOSITORY,
) -> None:
    """Measure a stage on this machine. Servers that are not given are started, on free ports."""
    from deploy.bench.arena import Given

    context.obj = Given(kafka_bootstrap, database_url, redis_url, code)


@app.command(
    epilog=examples(
        "burnstream bench stream                                  # three runs, minutes",
        "burnstream bench stream --events 50000 --runs 1 --json   # a quick look",
    )
)
def stream(  # noqa: PLR0917 -- typer gives options by name
    context: typer.Context,
    events: Events = 400_000,
    events_per_record: Annotated[int, typer.Option(min=1, max=1_000, help="Of usage.raw.")] = 1,
    customers: Customers = 200,
    price_rows: Annotated[int, typer.Option(min=0, help="More rows in the price list.")] = 0,
    runs: Runs = 3,
    as_json: AsJson = False,
) -> None:
    """One streams worker: from usage.raw to usage.rated."""
    from deploy.bench import stream as stage
    from deploy.bench.workload import Workload

    def one_run(arena: "Arena", number: int) -> "Sequence[Figure]":
        workload = Workload(events, events_per_record, customers, seed=number)
        return [stage.measure(arena, workload, price_rows=price_rows)]

    _measure(context, one_run, runs, as_json=as_json)


@app.command(
    epilog=examples(
        "burnstream bench sink --ledger-rows 10000000  # into a ledger that is full already",
    )
)
def sink(  # noqa: PLR0917 -- typer gives options by name
    context: typer.Context,
    events: Events = 400_000,
    customers: Customers = 200,
    late_copies: Annotated[
        float, typer.Option(min=0, max=0.1, help="Share of events that are charged already.")
    ] = 0.0,
    ledger_rows: Annotated[int, typer.Option(min=0, help="Rows in the ledger before.")] = 0,
    runs: Runs = 3,
    as_json: AsJson = False,
) -> None:
    """One sinks worker: from usage.rated to the committed ledger."""
    from deploy.bench import sink as stage

    def one_run(arena: "Arena", number: int) -> "Sequence[Figure]":
        workload = stage.workload_of(
            events, customers=customers, late_copies=late_copies, seed=number
        )
        return [stage.measure(arena, workload, ledger_rows)]

    _measure(context, one_run, runs, as_json=as_json)


@app.command(
    epilog=examples(
        "burnstream bench gateway --events-per-request 10",
    )
)
def gateway(  # noqa: PLR0917 -- typer gives options by name
    context: typer.Context,
    events: Events = 300_000,
    events_per_request: Annotated[int, typer.Option(min=1, max=1_000, help="Batch size.")] = 100,
    singles: Annotated[int, typer.Option(min=50, help="Single events, 200 a second.")] = 4_000,
    runs: Runs = 3,
    as_json: AsJson = False,
) -> None:
    """One gateway: batches as fast as they go, then single events at a steady rate."""
    from deploy.bench import gateway as stage

    def one_run(arena: "Arena", number: int) -> "Sequence[Figure]":
        return stage.measure(arena, stage.workload_of(events, events_per_request, number), singles)

    _measure(context, one_run, runs, as_json=as_json)


@app.command(
    epilog=examples(
        "burnstream bench e2e --steady-seconds 60",
    )
)
def e2e(  # noqa: PLR0917 -- typer gives options by name
    context: typer.Context,
    events: Events = 300_000,
    events_per_request: Annotated[int, typer.Option(min=1, max=1_000, help="Batch size.")] = 100,
    steady_seconds: Annotated[float, typer.Option(min=1, help="At a quarter of the rate.")] = 20.0,
    runs: Runs = 3,
    as_json: AsJson = False,
) -> None:
    """One of each process: from an HTTP request to the committed ledger."""
    from deploy.bench import e2e as way
    from deploy.bench.workload import Workload

    def one_run(arena: "Arena", number: int) -> "Sequence[Figure]":
        workload = Workload(events, events_per_request, seed=number)
        return way.measure(arena, workload, steady_seconds)

    _measure(context, one_run, runs, as_json=as_json)


@app.command(
    epilog=examples(
        "burnstream bench recovery --identities 1000000 --runs 1",
    )
)
def recovery(
    context: typer.Context,
    identities: Annotated[int, typer.Option(min=1_000, help="Two of each event.")] = 10_000_000,
    customers: Customers = 200,
    runs: Runs = 3,
    as_json: AsJson = False,
) -> None:
    """A new streams worker where so many identities are remembered: seconds and memory."""
    from deploy.bench import recovery as stage

    def all_runs(arena: "Arena") -> "Sequence[Sequence[Figure]]":
        return stage.measure(arena, identities, runs, customers)

    _print_medians(context, all_runs, as_json=as_json)


def _measure(context: typer.Context, one_run: "OneRun", runs: int, *, as_json: bool) -> None:
    """Run so often, each run by itself."""

    def all_runs(arena: "Arena") -> "Sequence[Sequence[Figure]]":
        numbers = with_progress("runs", range(1, runs + 1), runs)
        return [one_run(arena, number) for number in numbers]

    _print_medians(context, all_runs, as_json=as_json)


def _print_medians(
    context: typer.Context,
    all_runs: "Callable[[Arena], Sequence[Sequence[Figure]]]",
    *,
    as_json: bool,
) -> None:
    """Start the servers, measure, print; one line when something cannot be."""
    from deploy.bench.arena import Arena, MeasurementError
    from deploy.bench.figures import medians, table

    try:
        with Arena.open(context.obj, Progress()) as arena:
            found = medians(all_runs(arena))
    except (CannotStart, MeasurementError) as reason:
        fail(f"bench: {reason}")
    if as_json:
        print("\n".join(json.dumps(figure.as_json()) for figure in found))
    else:
        print(table(found))

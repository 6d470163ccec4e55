"""`burnstream repair`: a person's decision about a log that cannot heal."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from deploy.runtime.command_line import Json, examples, show
from schemas.rated import Kind
from sinks import repair as log_repair
from sinks.commands.ledger import By, Why, open_ledger, who

app = typer.Typer(
    help="A person's decision about a log that cannot heal; `audit` prints it for ever.",
    no_args_is_help=True,
)

Partition = Annotated[int, typer.Argument(min=0, help="Partition of usage.raw.")]


@app.command(
    epilog=examples(
        'burnstream repair new-epoch 3 --reason "disk of the broker lost, topic made again"',
        'burnstream repair new-epoch 3 --reason "clock went back" --from 0',
    )
)
def new_epoch(
    partition: Partition,
    reason: Why,
    by: By = "",
    from_offset: Annotated[
        int | None,
        typer.Option(
            "--from",
            min=0,
            help="Where the new log begins, if the broker's times do not tell; too low is safe.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Go on with a log that was made again, or cut off below what had been applied."""
    _repair(Kind.NEW_EPOCH, partition, reason, by, as_json, from_offset)


@app.command(
    epilog=examples('burnstream repair accept-hole 3 --reason "expired during the outage"')
)
def accept_hole(partition: Partition, reason: Why, by: By = "", as_json: Json = False) -> None:
    """Go on beyond events that no log holds any more."""
    _repair(Kind.HOLE, partition, reason, by, as_json)


def _repair(  # noqa: PLR0917 -- a command's arguments
    kind: Kind,
    partition: int,
    reason: str,
    by: str,
    as_json: bool,
    from_offset: int | None = None,
) -> None:
    with open_ledger() as (settings, connection):
        decision = asyncio.run(
            log_repair.repair(
                settings,
                connection,
                kind,
                partition,
                reason=reason,
                by=who(by),
                from_offset=from_offset,
            )
        )
    show(
        as_json,
        asdict(decision),
        lambda: (
            f"partition {partition}: {kind} from {decision.first_offset} to "
            f"{decision.next_offset} stands in {settings.topics.rated} at {decision.rated_offset}; "
            f"restart sinks and streams if they stopped for it"
        ),
    )

"""`burnstream dead-letters`: events that could not be charged, with their bytes."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer
from aiokafka import AIOKafkaProducer

from deploy.runtime.command_line import Json, examples, plain, show
from deploy.runtime.kafka import producer_options, require_topics, stop_in_time
from deploy.runtime.progress_bar import with_progress
from deploy.runtime.settings import RuntimeSettings
from schemas.dead_letter import Reason
from schemas.topics import RAW_MESSAGE_BYTES_MAX
from sinks import dead_letters
from sinks.commands.ledger import By, Why, open_ledger, who

PRODUCER_STOP_SECONDS = 5.0

app = typer.Typer(help="Events that could not be charged, with their bytes.", no_args_is_help=True)

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, such as dl-0-0-17-0.")]
KindFilter = Annotated[Reason | None, typer.Option("--kind", help="Only this reason.")]
CustomerFilter = Annotated[str | None, typer.Option("--customer", help="Only this customer.")]


class Status(StrEnum):
    """Filter of `dead-letters list`."""

    OPEN = "OPEN"
    REPLAYED = "REPLAYED"
    DISCARDED = "DISCARDED"
    ALL = "ALL"


@app.command(
    name="list",
    epilog=examples(
        "burnstream dead-letters list                    # the open ones",
        "burnstream dead-letters list --kind UNPRICED --customer cust-1",
        "burnstream dead-letters list --status ALL --json",
    ),
)
def list_letters(
    status: Annotated[Status, typer.Option(help="Only of this status.")] = Status.OPEN,
    kind: KindFilter = None,
    customer: CustomerFilter = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """List dead letters, the newest first."""
    with open_ledger() as (_, connection):
        found = dead_letters.find(
            connection,
            status=None if status is Status.ALL else status,
            reason=kind,
            customer_id=customer,
            limit=limit,
        )
    rows = [asdict(letter) for letter in found]
    for row in rows:
        del row["payload"], row["record_key"]
    show(as_json, rows, lambda: "\n".join(_letter_lines(found)) or "no dead letters")


def _letter_lines(found: Sequence[dead_letters.Letter]) -> Iterator[str]:
    yield from map(_letter_line, found)
    for reason in sorted({letter.reason for letter in found if letter.status == Status.OPEN}):
        yield f"{reason}: {dead_letters.REMEDIES[Reason(reason)]}"


def _letter_line(letter: dead_letters.Letter) -> str:
    return (
        f"{letter.id}  {letter.created_at:%Y-%m-%d %H:%M:%S}  {letter.status}  {letter.reason}  "
        f"{letter.customer_id or '-'}  {letter.event_id or '-'}  {letter.message}"
    )


@app.command(name="show", epilog=examples("burnstream dead-letters show dl-0-0-17-0"))
def show_letter(
    letter_id: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False
) -> None:
    """Show one dead letter with the bytes that came."""
    with open_ledger() as (_, connection):
        letter = dead_letters.get(connection, [letter_id])[0]
    fields = asdict(letter) | {"remedy": dead_letters.REMEDIES[Reason(letter.reason)]}
    show(
        as_json,
        fields,
        lambda: "\n".join(
            f"{name}: {plain(value)}" for name, value in fields.items() if value is not None
        ),
    )


@app.command(
    epilog=examples(
        "burnstream dead-letters replay dl-0-0-17-0 dl-0-0-18-0",
        "burnstream dead-letters replay --all --kind UNKNOWN_CUSTOMER  # it was created",
    )
)
def replay(
    *,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Ids, such as dl-0-0-17-0.")
    ] = None,
    all_open: Annotated[bool, typer.Option("--all", help="All open ones.")] = False,
    kind: KindFilter = None,
    customer: CustomerFilter = None,
    limit: Annotated[int, typer.Option(min=1, help="Of --all.")] = 10_000,
    by: By = "",
    reason: Annotated[str | None, typer.Option(help="Why; kept with the letter.")] = None,
    as_json: Json = False,
) -> None:
    """Write dead letters to usage.raw again, their bytes as they were; twice charges once."""
    if bool(ids) == all_open:
        raise typer.BadParameter("name ids, or --all (with --kind, --customer), not both")
    with open_ledger() as (settings, connection):
        letters = (
            dead_letters.get(connection, ids)
            if ids
            else dead_letters.find(connection, reason=kind, customer_id=customer, limit=limit)
        )

        async def send() -> Sequence[str | None]:
            async with _raw_producer(settings) as producer:
                return await dead_letters.replay(
                    connection,
                    producer,
                    settings.topics.raw,
                    letters,
                    by=who(by),
                    reason=reason,
                    watch=lambda each: with_progress("replay: letters", each, len(letters)),
                )

        places = asyncio.run(send()) if letters else []
    replayed = {letter.id: place for letter, place in zip(letters, places, strict=True)}
    show(
        as_json,
        {"replayed": replayed},
        lambda: (
            "\n".join(
                f"{one} replayed as {place or 'a record whose place Kafka did not say'}"
                for one, place in replayed.items()
            )
            or "no dead letters"
        ),
    )


@asynccontextmanager
async def _raw_producer(settings: RuntimeSettings) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        **producer_options(settings, "dead-letters"), max_request_size=2 * RAW_MESSAGE_BYTES_MAX
    )
    try:
        await producer.start()
        await require_topics(producer, settings.topics.raw)
        yield producer
    finally:
        await stop_in_time(producer, PRODUCER_STOP_SECONDS)


@app.command(
    epilog=examples('burnstream dead-letters discard dl-0-0-17-0 --reason "test of the producer"')
)
def discard(ids: Ids, reason: Why, by: By = "", as_json: Json = False) -> None:
    """Set open dead letters aside for good; their bytes stay."""
    with open_ledger() as (_, connection):
        letters = dead_letters.get(connection, ids)
        count = dead_letters.discard(connection, letters, by=who(by), reason=reason)
    show(as_json, {"discarded": count}, lambda: f"discarded {count} of {len(letters)}")

"""Commands that belong to the stream stage."""

import asyncio
from typing import Annotated

import orjson
import typer

from deploy.runtime.command_line import Json, examples, fail, one_line_errors, show
from deploy.runtime.exit import ExitCode
from deploy.runtime.settings import load_settings
from streams.settings import StreamsSettings

TIMEOUT_SECONDS = 30.0

app = typer.Typer()


@app.command(
    epilog=examples(
        'burnstream quarantine 3 4711 --reason "issue 12" --by alice',
        'burnstream quarantine 3 4711 --reason "12 is mended" --by alice --lift',
    )
)
def quarantine(  # noqa: PLR0917 -- typer gives options by name
    partition: Annotated[int, typer.Argument(min=0, help="Partition of usage.raw.")],
    offset: Annotated[int, typer.Argument(min=0, help="Offset of the record in it.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the dead letter.")],
    by: Annotated[str, typer.Option(help="Who decides; kept with the dead letter.")],
    lift: Annotated[bool, typer.Option("--lift", help="Let the record through again.")] = False,
    as_json: Json = False,
) -> None:
    """Make a record that stops the workers a dead letter QUARANTINED, its bytes kept."""
    settings = load_settings(StreamsSettings)
    key, value = decision_record(partition, offset, None if lift else (reason, by))
    with one_line_errors(settings):
        asyncio.run(_write(settings, partition, key, value))
    done = "is let through again" if lift else "becomes a dead letter when it is rated next"
    show(
        as_json,
        {"topic": settings.topics.raw, "partition": partition, "offset": offset, "lifted": lift},
        lambda: f"{settings.topics.raw}[{partition}] offset {offset} {done}",
    )


def decision_record(
    partition: int, offset: int, why: tuple[str, str] | None
) -> tuple[bytes, bytes | None]:
    """Return key and value of a record of `usage.quarantine`; `why`: (reason, by), None: lifted."""
    key = f"{partition}:{offset}".encode()
    return key, None if why is None else orjson.dumps({"reason": why[0], "by": why[1]})


async def _write(
    settings: StreamsSettings, partition: int, key: bytes, value: bytes | None
) -> None:
    from aiokafka import AIOKafkaProducer

    from deploy.runtime.kafka import producer_options, require_topics, stop_in_time
    from schemas.dead_letter import FORMAT_HEADER

    producer = AIOKafkaProducer(**producer_options(settings, "quarantine"))
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await producer.start()
            await require_topics(producer, settings.topics.raw, settings.topics.quarantine)
            partitions = await producer.partitions_for(settings.topics.raw)
            if partition not in partitions:
                fail(
                    f"{settings.topics.raw} has the partitions {sorted(partitions)}, not "
                    f"{partition}: the worker's last line names the record",
                    ExitCode.USAGE,
                )
            await producer.send_and_wait(
                settings.topics.quarantine, value, key=key, partition=0, headers=[FORMAT_HEADER]
            )
    finally:
        await stop_in_time(producer, 5.0)

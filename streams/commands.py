"""Commands that belong to the stream stage."""

import asyncio
from typing import Annotated

import orjson
import typer

from deploy.runtime.exit import ExitCode
from deploy.runtime.settings import load_settings
from streams.settings import StreamsSettings

app = typer.Typer()


@app.command()
def quarantine(
    partition: Annotated[int, typer.Argument(min=0, help="partition of usage.raw")],
    offset: Annotated[int, typer.Argument(min=0, help="offset of the record in it")],
    reason: Annotated[str, typer.Option(help="why; kept with the dead letter")],
    by: Annotated[str, typer.Option(help="who decides; kept with the dead letter")],
    lift: Annotated[bool, typer.Option(help="let the record through again")] = False,
) -> None:
    """Make a record that stops the workers a dead letter QUARANTINED, its bytes kept."""
    settings = load_settings(StreamsSettings)
    key = f"{partition}:{offset}".encode()
    value = None if lift else orjson.dumps({"reason": reason, "by": by})
    asyncio.run(_write(settings, partition, key, value))
    done = "is let through again" if lift else "becomes a dead letter when it is rated next"
    print(f"{settings.topics.raw}[{partition}] offset {offset} {done}")


async def _write(
    settings: StreamsSettings, partition: int, key: bytes, value: bytes | None
) -> None:
    from aiokafka import AIOKafkaProducer

    from deploy.runtime.kafka import producer_options
    from schemas.dead_letter import FORMAT_HEADER

    producer = AIOKafkaProducer(**producer_options(settings, "quarantine"))
    await producer.start()
    try:
        partitions = await producer.partitions_for(settings.topics.raw)
        if partition not in partitions:
            print(f"{settings.topics.raw} has the partitions {sorted(partitions)}")
            raise typer.Exit(ExitCode.USAGE)
        await producer.send_and_wait(
            settings.topics.quarantine, value, key=key, partition=0, headers=[FORMAT_HEADER]
        )
    finally:
        await producer.stop()

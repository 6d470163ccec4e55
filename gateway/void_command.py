"""`burnstream void`: an event undone, or replaced, by a record of the log."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from deploy.runtime.command_line import Json, examples, one_line_errors, show
from deploy.runtime.kafka import producer_options, require_topics, stop_in_time
from deploy.runtime.settings import RuntimeSettings, load_settings
from schemas.corrections import CORRECTION_HEADER, encode_correction, event_of, read_correction
from schemas.events import InvalidBatchError, NotJsonError
from schemas.topics import partition_for_key

_ACKNOWLEDGEMENT_SECONDS = 30.0
_STOP_SECONDS = 5.0

app = typer.Typer()


class VoidError(Exception):
    """What was asked for is no correction; the message says which field is wrong."""


@app.command(
    epilog=examples(
        'burnstream void EVENT_ID --customer acme --reason "sent twice under two ids" --by ann',
        'burnstream void EVENT_ID --customer acme --reason "wrong model" --event mended.json',
    )
)
def void(
    *,
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="What is undone.")],
    customer: Annotated[str, typer.Option(help="Whose event it is.")],
    reason: Annotated[str, typer.Option(help="Why; it stays in the ledger.")],
    by: Annotated[str | None, typer.Option(help="Who asked for it.")] = None,
    event: Annotated[
        Path | None,
        typer.Option(help="JSON of the event that takes its place; - reads from stdin."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Give back what an event cost; with --event, charge another in its place."""
    settings = load_settings(RuntimeSettings)
    with one_line_errors(settings, (VoidError,)):
        value: dict[str, Any] = {
            "void": {"customer_id": customer, "event_id": event_id, "reason": reason}
        }
        if by is not None:
            value["void"]["requested_by"] = by
        if event is not None:
            value["event"] = _event(event)
        try:
            found = read_correction(orjson.dumps(value))
        except (NotJsonError, InvalidBatchError) as error:
            raise VoidError(str(error)) from None
        place = asyncio.run(_write(settings, customer.encode(), encode_correction(found)))
    at = f"{place.partition}:{place.offset}"
    voided_by = event_of(found, place.timestamp)["event_id"]
    show(
        as_json,
        {"event_id": event_id, "voided_by": voided_by, "record": at},
        lambda: f"{event_id} is voided by {voided_by}, once the record at {at} is applied",
    )


def _event(path: Path) -> Any:
    try:
        return orjson.loads(sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes())
    except OSError as error:
        raise VoidError(f"{path} cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise VoidError(f"{path} is no JSON: {error}") from None


async def _write(settings: RuntimeSettings, key: bytes, value: bytes) -> RecordMetadata:
    producer = AIOKafkaProducer(**producer_options(settings, "void"))
    try:
        await producer.start()
        topic = settings.topics.raw
        await require_topics(producer, topic)
        partitions = len(await producer.partitions_for(topic))
        partition = partition_for_key(key, partitions)
        async with asyncio.timeout(_ACKNOWLEDGEMENT_SECONDS):
            return await producer.send_and_wait(
                topic, value, key=key, partition=partition, headers=[CORRECTION_HEADER]
            )
    finally:
        await stop_in_time(producer, _STOP_SECONDS)

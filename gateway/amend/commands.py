"""`burnstream void` and `burnstream amend`."""

import asyncio
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from deploy.runtime.command_line import Json, examples, fail, one_line_errors, show
from deploy.runtime.exit import ExitCode
from deploy.runtime.settings import load_settings
from gateway.settings import GatewaySettings
from schemas.corrections import Correction, encode_correction
from schemas.topics import partition_for_key

ACKNOWLEDGEMENT_SECONDS = 30.0
_STOP_SECONDS = 5.0

app = typer.Typer()

EventId = Annotated[str, typer.Argument(help="The charged event's id.")]
Customer = Annotated[str, typer.Option(help="Whose event it is.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the record.")]
By = Annotated[str | None, typer.Option(help="Who wants it; kept with the record.")]


@app.command(
    epilog=examples(
        "burnstream void 550e8400-e29b-41d4-a716-446655440001 --customer cust-1 "
        '--reason "sent twice under two ids" --by alice',
    ),
)
def void(
    event_id: EventId,
    customer: Customer,
    reason: Reason,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Undo an event's charge: a refund stands beside it. The same again does nothing."""
    _correct(event_id, customer, _body(reason, by), as_json=as_json, is_replacement=False)


@app.command(
    epilog=examples(
        "burnstream amend 550e8400-e29b-41d4-a716-446655440001 --customer cust-1 "
        '--reason "wrong model" --event corrected.json',
        "jq .model=$model event.json | burnstream amend 550e8400-e29b-41d4-a716-446655440001 "
        '--customer cust-1 --reason "wrong model" --event -',
    ),
)
def amend(  # noqa: PLR0917 -- typer gives options by name
    event_id: EventId,
    customer: Customer,
    reason: Reason,
    event: Annotated[
        str, typer.Option(help="The event in its place, with an id of its own, JSON; - is stdin.")
    ],
    by: By = None,
    as_json: Json = False,
) -> None:
    """Undo an event's charge and book another event in its place, both or neither."""
    body = _body(reason, by, event=orjson.Fragment(_json_of(event)))
    _correct(event_id, customer, body, as_json=as_json, is_replacement=True)


def _body(reason: str, by: str | None, **event: Any) -> bytes:
    """Return what would be sent to the gateway, so that both doors take and refuse the same."""
    return orjson.dumps({"reason": reason} | ({} if by is None else {"requested_by": by}) | event)


def _json_of(file: str) -> bytes:
    """Return the file's bytes, which are one JSON value and nothing beside it."""
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        orjson.loads(text)
    except OSError as error:
        fail(f"--event {file}: {error.strerror}", ExitCode.USAGE)
    except orjson.JSONDecodeError as error:
        fail(f"--event {file}: no JSON: {error}", ExitCode.USAGE)
    return text


def _correct(
    event_id: str, customer: str, body: bytes, *, as_json: bool, is_replacement: bool
) -> None:
    settings = load_settings(GatewaySettings)
    correction = _read(settings, event_id, customer, body, is_replacement=is_replacement)
    with one_line_errors(settings):
        place = asyncio.run(_write(settings, correction))
    event = correction.event
    done: dict[str, Any] = {
        "event_id": correction.void["event_id"],
        "replaced_by": event and event["event_id"],
        "topic": settings.topics.raw,
        "record": place,
    }
    deed = f"replaced by {done['replaced_by']}" if event else "voided"
    where = f"record {place} of {done['topic']}" if place else "Kafka has it, but did not say where"
    show(as_json, done, lambda: f"{done['event_id']} is to be {deed}: {where}")


def _read(
    settings: GatewaySettings, event_id: str, customer: str, body: bytes, *, is_replacement: bool
) -> Correction:
    # Imported where it is needed: a cold start of the command line must be quick.
    from gateway.amend.request import read_replacement, read_void
    from gateway.ingest import ForeignCustomerError
    from schemas.events import InvalidBatchError, NotJsonError

    try:
        if not is_replacement:
            return read_void(body, customer, event_id)
        return read_replacement(
            body,
            customer,
            event_id,
            now_milliseconds=time.time_ns() // 1_000_000,
            policy=settings.timestamp_policy,
        )
    except NotJsonError as error:
        fail(f"no JSON: {error}", ExitCode.USAGE)
    except InvalidBatchError as error:
        fail(str(error), ExitCode.USAGE)
    except ForeignCustomerError:
        fail(f"event.customer_id: Must be {customer!r}, as --customer", ExitCode.USAGE)


async def _write(settings: GatewaySettings, correction: Correction) -> str | None:
    """Write the record as the gateway does; return "partition:offset", None: it was not told.

    Raises what aiokafka raises, and TimeoutError.
    """
    from aiokafka import AIOKafkaProducer

    from deploy.runtime.kafka import producer_options, require_topics, stop_in_time
    from schemas.corrections import CORRECTION_HEADER

    producer = AIOKafkaProducer(**producer_options(settings, "amend"))
    topic, key = settings.topics.raw, correction.void["customer_id"].encode()
    try:
        async with asyncio.timeout(ACKNOWLEDGEMENT_SECONDS):
            await producer.start()
            await require_topics(producer, topic)
            partitions = await producer.partitions_for(topic)
            record = await producer.send_and_wait(
                topic,
                encode_correction(correction),
                key=key,
                partition=partition_for_key(key, len(partitions)),
                headers=[CORRECTION_HEADER],
            )
    finally:
        await stop_in_time(producer, _STOP_SECONDS)
    return None if record.offset < 0 else f"{record.partition}:{record.offset}"

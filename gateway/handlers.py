"""The routes of /v1, and the middleware that finds out who calls and how often."""

import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import orjson
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from deploy.runtime.tracing import TRACEPARENT, Tracing, traceparent_of
from gateway import dead_letters, ingest, metrics
from gateway.amend import request as amend
from gateway.auth import AUTHENTICATOR, api_key_of, hash_of
from gateway.batches import BATCH_IDS, batch_status, event_status
from gateway.bodies import json_body
from gateway.duplicates import DUPLICATE_ADVICE
from gateway.errors import (
    UnavailableError,
    invalid_request,
    json_response,
    not_found,
    plain,
    too_large,
    unauthorized,
)
from gateway.postgres import POSTGRES
from gateway.producer import RAW_PRODUCER, Headers, RecordRefusedError, Written
from gateway.rate_limit import RATE_LIMITER, Allowance, peer_of
from gateway.settings import GatewaySettings
from schemas import cloud_events
from schemas.batch_id import BatchPositions
from schemas.corrections import CORRECTION_HEADER, Correction, encode_correction
from schemas.dead_letter import FORMAT_HEADER
from schemas.events import FieldError, InvalidBatchError, NotJsonError

_log = structlog.get_logger("gateway")

SETTINGS = web.AppKey("settings", GatewaySettings)
TRACING = web.AppKey[Tracing | None]("tracing")
_CUSTOMER = web.RequestKey("customer_id", str)
_ALLOWANCE = web.RequestKey("allowance", Allowance)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UNLIMITED_PATHS = {"/ready"}
HEALTH_PATH = "/health"


@web.middleware
async def identify_and_limit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find the caller's bucket, count the request, refuse what is too much.

    A valid key has its customer's bucket; every other request, unknown keys too, its peer's.
    """
    if request.path in _UNLIMITED_PATHS:
        return await handler(request)
    if request.path == HEALTH_PATH:
        await _count(request, "health", _peer(request))
        return await handler(request)
    outage: UnavailableError | None = None
    try:
        customer_id = await _customer_of(request)
    except UnavailableError as error:
        customer_id, outage = None, error
    if customer_id is not None:
        await _count(request, "customer", customer_id)
        request[_CUSTOMER] = customer_id
    else:
        await _count(request, "peer", _peer(request))
    if outage is not None:
        raise outage
    return await handler(request)


async def _customer_of(request: web.Request) -> str | None:
    key = api_key_of(request)
    if key is None:
        return None
    key_hash = hash_of(key)
    authenticator = request.app[AUTHENTICATOR]
    if not authenticator.is_remembered(key_hash):
        # Whoever tries keys until nothing is left of their bucket no longer reaches Postgres.
        bucket = f"peer:{_peer(request)}"
        exhausted = request.app[RATE_LIMITER].exhausted(bucket)
        if exhausted is not None:
            _refuse(request, "peer", exhausted)
    return await authenticator.customer_of(key_hash)


async def _count(request: web.Request, kind: str, who: str) -> None:
    allowance = await request.app[RATE_LIMITER].hit(f"{kind}:{who}")
    if allowance is None:
        return
    request[_ALLOWANCE] = allowance
    if allowance.is_exceeded:
        _refuse(request, kind, allowance)


def _refuse(request: web.Request, kind: str, allowance: Allowance) -> None:
    request[_ALLOWANCE] = allowance
    metrics.RATE_LIMITED.labels(kind).inc()
    raise plain(
        429,
        "Too Many Requests",
        f"Rate limit exceeded, retry in {allowance.reset_seconds} seconds",
    )


def _peer(request: web.Request) -> str:
    trusted = request.app[SETTINGS].trusted_proxies
    forwarded_for = ",".join(request.headers.getall("X-Forwarded-For", ())) if trusted else ""
    return peer_of(request.remote or "unknown", forwarded_for, trusted)


async def add_rate_limit_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: tell the caller what is left of the bucket."""
    allowance: Allowance | None = request.get(_ALLOWANCE)
    if allowance is not None:
        response.headers.update(allowance.headers())


def _caller(request: web.Request) -> str:
    """Return the customer who calls. Raises 401."""
    customer_id: str | None = request.get(_CUSTOMER)
    if customer_id is None:
        raise unauthorized()
    return customer_id


async def ingest_events(request: web.Request) -> web.Response:
    """POST /v1/events/ingest: take in 1 to 1,000 events; answer when Kafka has them."""
    started = time.perf_counter()
    customer_id = _caller(request)
    settings = request.app[SETTINGS]
    async with json_body(request, customer_id, settings) as body:
        read = ingest.read_batch
        mode = cloud_events.http_mode(request.content_type, request.headers)
        if mode is not None:
            read = partial(ingest.read_cloud_events, mode=mode, headers=request.headers)
        batch = read(
            body,
            customer_id,
            lenient=ingest.is_lenient(request.headers.get("Prefer", "")),
            now_milliseconds=time.time_ns() // 1_000_000,
            policy=settings.timestamp_policy,
        )
    parent = traceparent_of(request.headers.get(TRACEPARENT))
    tracing = request.app[TRACING]
    span = tracing.begin("ingest", parent, time.time_ns()) if tracing else None
    trace = span.traceparent if span else parent
    duplicates, batch_id, written = await _write(request.app, customer_id, batch, trace)
    if span:
        span.end(time.time_ns(), {"events": len(batch.events), "partition": written.partition})
    milliseconds = round((time.perf_counter() - started) * 1000)
    status, answer = ingest.answer(batch, duplicates, batch_id, milliseconds)
    for outcome in ("accepted", "duplicates", "rejected"):
        metrics.EVENTS.labels(outcome).inc(answer[outcome])
    metrics.BATCH_EVENTS.observe(len(batch.events) + answer["rejected"])
    _log.info(
        "Events ingested successfully",
        customerId=customer_id,
        **ingest.summary(answer),
        partition=written.partition,
        offsets=written.offsets and (written.offsets[0], written.offsets[-1] + 1),
        processingTimeMs=milliseconds,
    )
    return json_response(answer, status)


async def _write(
    app: web.Application, customer_id: str, batch: ingest.Batch, trace: bytes | None
) -> tuple[int, str | None, Written]:
    """Write every event to `usage.raw`, whatever Redis says.

    Returns duplicates, batch id, and where the records stand.
    """
    records = ingest.to_records(batch.events)
    identities = ingest.advice_identities(batch.events)
    remembered = await app[DUPLICATE_ADVICE].remembered(identities)
    duplicates = ingest.count_duplicates(identities, remembered)
    headers = (FORMAT_HEADER, (TRACEPARENT, trace)) if trace else (FORMAT_HEADER,)
    batch_id, written = await _write_records(
        app, customer_id, records, headers, events=len(batch.events)
    )
    await app[DUPLICATE_ADVICE].remember(identities)
    return duplicates, batch_id, written


async def _write_records(
    app: web.Application, customer_id: str, records: Sequence[bytes], headers: Headers, events: int
) -> tuple[str | None, Written]:
    """Write records that hold so many events to `usage.raw`; return batch id and where they are."""
    # Known before anything is written: an accepted batch can always be asked for.
    await app[BATCH_IDS].secret()
    try:
        written = await app[RAW_PRODUCER].write(customer_id.encode(), records, headers)
    except RecordRefusedError:
        raise too_large("Kafka does not take a record that large: send fewer events") from None
    if written.offsets is None:
        return None, written
    positions = BatchPositions(written.partition, written.offsets, events)
    return await app[BATCH_IDS].encode(customer_id, positions), written


async def void_event(request: web.Request) -> web.Response:
    """POST /v1/events/{event_id}/void: undo an event's charge."""
    return await _correct(request, amend.read_void)


async def replace_event(request: web.Request) -> web.Response:
    """POST /v1/events/{event_id}/replace: undo an event's charge and book another in its place."""
    read = partial(
        amend.read_replacement,
        now_milliseconds=time.time_ns() // 1_000_000,
        policy=request.app[SETTINGS].timestamp_policy,
    )
    return await _correct(request, read)


async def _correct(
    request: web.Request, read: Callable[[bytes, str, str], Correction]
) -> web.Response:
    """Write what a body asks for as one record; answer when Kafka has it."""
    started = time.perf_counter()
    customer_id = _caller(request)
    async with json_body(request, customer_id, request.app[SETTINGS]) as body:
        try:
            correction = read(body, customer_id, request.match_info["event_id"])
        except NotJsonError as error:
            raise _wrong_correction([FieldError((), f"Not JSON: {error}")]) from None
        except InvalidBatchError as error:
            raise _wrong_correction(error.errors) from None
    trace = traceparent_of(request.headers.get(TRACEPARENT))
    headers = (CORRECTION_HEADER, *(((TRACEPARENT, trace),) if trace else ()))
    batch_id, written = await _write_records(
        request.app, customer_id, [encode_correction(correction)], headers, events=1
    )
    milliseconds = round((time.perf_counter() - started) * 1000)
    answer = amend.answer(correction, batch_id, milliseconds)
    _log.info(
        "Correction taken",
        customerId=customer_id,
        eventId=answer["event_id"],
        replacedBy=answer.get("replaced_by"),
        partition=written.partition,
        offset=written.offsets and written.offsets[0],
        processingTimeMs=milliseconds,
    )
    return json_response(answer, 202)


def _wrong_correction(errors: Sequence[FieldError]) -> Exception:
    return invalid_request("Invalid correction", ingest.details_tree(errors))


async def show_batch(request: web.Request) -> web.Response:
    """GET /v1/batches/{batch_id}: what became of a batch."""
    customer_id = _caller(request)
    status = await batch_status(
        request.app[POSTGRES],
        request.app[BATCH_IDS],
        request.app[SETTINGS].topics.raw,
        customer_id,
        request.match_info["batch_id"],
    )
    if status is None:
        raise not_found("There is no such batch")
    return json_response(status)


async def show_event(request: web.Request) -> web.Response:
    """GET /v1/events/{event_id}: what became of an event."""
    customer_id = _caller(request)
    event_id = request.match_info["event_id"]
    status = None
    if _UUID.fullmatch(event_id):
        status = await event_status(request.app[POSTGRES], customer_id, event_id)
    if status is None:
        raise not_found("There is no such event, or it is not processed yet")
    return json_response(status)


async def list_dead_letters(request: web.Request) -> web.Response:
    """GET /v1/events/dlq: the caller's open dead letters."""
    customer_id = _caller(request)
    return json_response(await dead_letters.list_open(request.app[POSTGRES], customer_id))


async def replay_dead_letters(request: web.Request) -> web.Response:
    """POST /v1/events/dlq/replay: write the caller's open dead letters to Kafka again."""
    customer_id = _caller(request)
    ids = None
    if request.can_read_body:
        async with json_body(request, customer_id, request.app[SETTINGS]) as body:
            ids = job_ids_of(body)
    answer = await dead_letters.replay(
        request.app[POSTGRES], request.app[RAW_PRODUCER], customer_id, ids
    )
    _log.info("Replayed DLQ jobs", customerId=customer_id, count=answer["count"])
    return json_response(answer)


def job_ids_of(body: bytes) -> list[str] | None:
    """Return `jobIds` of a replay request, None when it names none. Raises 400."""
    if not body.strip():
        return None
    try:
        asked: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _wrong_replay(FieldError((), f"Not JSON: {error}")) from None
    if not isinstance(asked, dict):
        raise _wrong_replay(FieldError((), "Expected object"))
    ids = asked.get("jobIds")
    if "jobIds" not in asked:
        return None
    if not isinstance(ids, list) or len(ids) > dead_letters.REPLAYED_MAX:
        raise _wrong_replay(
            FieldError(("jobIds",), f"Expected array of at most {dead_letters.REPLAYED_MAX} ids")
        )
    for at, one in enumerate(ids):
        if not isinstance(one, str) or "\0" in one:
            raise _wrong_replay(FieldError(("jobIds", at), "Expected the id of a dead letter"))
    return ids


def _wrong_replay(error: FieldError) -> Exception:
    return invalid_request("Invalid replay request", ingest.details_tree([error]))

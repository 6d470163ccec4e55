"""The OpenAPI 3.1 document of the HTTP interface, made of the types that validate.

`tests/integration/gateway/test_api_document.py` holds it against a real gateway.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

from gateway import answers
from gateway.amend.request import ReplaceRequest, VoidRequest
from gateway.api_examples import ANSWERS, BATCH, CLOUD_EVENT, REASON, REPLACEMENT
from schemas import cloud_events
from schemas.events import UUID_PATTERN, EventBatch
from schemas.json_schemas import ref, schemas_of

JSON = "application/json"
_DESCRIPTION = """
Usage events in, what became of them out.
Every event that is answered 202 is charged exactly once, as one charge, one duplicate or one dead
letter. Without an answer, or after a 503, send the same again: it is charged once.
An event is told by its `event_id` and its `idempotency_key`, within its customer.
"""
_INGEST = """
Takes 1 to 1,000 events and answers when Kafka has acknowledged them.

- `application/json`: events of our own form. With headers `ce-specversion`, `ce-id`, `ce-source`
  and `ce-type` the body is the `data` of one CloudEvent (binary mode).
- `application/cloudevents+json`, `application/cloudevents-batch+json`: CloudEvents 1.0. `source`
  and `id` are the identity; `subject` is the `customer_id`, `time` the `timestamp`, the last part
  of `type` the `event_type`, where `data` does not name them.

The body may be gzip (`Content-Encoding: gzip`).
"""
_AMEND = """
One record of the log, decided where the money is. The ledger keeps the charge and writes a refund
beside it; the event's id stays taken. The same again does nothing. What cannot be done (nothing is
charged by that id yet; the event has another replacement) becomes a dead letter.
"""
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string"},
    "description": "`handling=lenient` takes the good events of a batch and names the others.",
}
_RATE_HEADERS = {
    "X-RateLimit-Limit": "requests per window",
    "X-RateLimit-Remaining": "requests left in this window",
    "X-RateLimit-Reset": "seconds to the next window",
}
_SECURED: list[dict[str, list[str]]] = [{"apiKey": []}, {"bearer": []}]


# status -> what it means, and the types that its body may have.
_Answers = Mapping[int, tuple[str, tuple[str, ...]]]
_OF_HTTP: _Answers = {
    400: ("the request is not valid HTTP", ("HttpRefusal",)),
    429: ("too many requests: wait for `Retry-After`", ("HttpRefusal",)),
}
_OF_CALLERS: _Answers = {
    **_OF_HTTP,
    401: ("no key, or one that is nobody's", ("Refused",)),
    503: ("send the same again: it may or may not have been taken", ("Unavailable",)),
}
_OF_BODIES: _Answers = {
    **_OF_CALLERS,
    400: ("something in the body is wrong; nothing was taken", ("ValidationFailed", "HttpRefusal")),
    408: ("the body did not arrive in time", ("HttpRefusal",)),
    413: ("too large: send fewer events", ("HttpRefusal",)),
    415: ("a content type or encoding that is not taken", ("HttpRefusal",)),
}
_NOT_FOUND = ("nothing of the caller's is known by that id", ("Refused", "HttpRefusal"))


@cache
def api_document() -> dict[str, Any]:
    """Return the document as JSON values; not to be changed."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Burnstream",
            "version": version("burnstream"),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "events", "description": "Events in, and what became of them."},
            {"name": "dead letters", "description": "What could not be charged."},
            {"name": "service", "description": "The gateway itself."},
        ],
        "paths": _event_paths() | _correction_paths() | _letter_paths() | _service_paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "the API key"},
            },
        },
    }


def _schemas() -> dict[str, Any]:
    kinds = [
        kind
        for kind in vars(answers).values()
        if isinstance(kind, type) and kind.__module__ == answers.__name__
    ]
    schemas = schemas_of(EventBatch, cloud_events.CloudEvent, VoidRequest, ReplaceRequest, *kinds)
    schemas["CloudEventBatch"] = {
        "type": "array",
        "items": ref("CloudEvent"),
        "minItems": 1,
        "maxItems": schemas["EventBatch"]["properties"]["events"]["maxItems"],
    }
    return schemas


def _event_paths() -> dict[str, Any]:
    ingest = _operation(
        "ingestEvents",
        "events",
        "Take in usage events",
        {
            **_OF_BODIES,
            202: ("Kafka has acknowledged the events", ("Accepted",)),
            200: ("all were duplicates", ("AllDuplicates",)),
            403: ("an event of another customer; nothing was taken", ("Refused",)),
        },
        description=_INGEST,
        parameters=[_PREFER],
        body={
            JSON: ("EventBatch", {"batch": BATCH}),
            cloud_events.STRUCTURED: ("CloudEvent", {"cloudEvent": CLOUD_EVENT}),
            cloud_events.BATCH: ("CloudEventBatch", {"cloudEvents": [CLOUD_EVENT]}),
        },
    )
    batch = _operation(
        "showBatch",
        "events",
        "What became of a batch",
        {
            **_OF_CALLERS,
            200: ("`queued`, or `committed`: in the ledger", ("Queued", "Committed")),
            404: _NOT_FOUND,
        },
        parameters=[
            _in_path("batch_id", "as a 202 named it; or `partition:offset` of a producer's record")
        ],
    )
    event = _operation(
        "showEvent",
        "events",
        "What became of an event",
        {
            **_OF_CALLERS,
            200: ("where it came to", ("ChargedEvent", "DuplicateEvent", "DeadEvent")),
            404: _NOT_FOUND,
        },
        parameters=[_in_path("event_id", "the event's id, a UUID")],
    )
    return {
        "/v1/events/ingest": {"post": ingest},
        "/v1/events/{event_id}": {"get": event},
        "/v1/batches/{batch_id}": {"get": batch},
    }


def _correction_paths() -> dict[str, Any]:
    parameters = [_in_path("event_id", "the charged event's id", pattern=UUID_PATTERN)]
    unknown = ("an id that is empty or holds a slash: no such route", ("HttpRefusal",))
    void = _operation(
        "voidEvent",
        "events",
        "Undo an event's charge",
        {**_OF_BODIES, 202: ("Kafka has acknowledged it", ("Voiding",)), 404: unknown},
        description=_AMEND,
        parameters=parameters,
        body={JSON: ("VoidRequest", {"void": REASON})},
    )
    replace = _operation(
        "replaceEvent",
        "events",
        "Undo an event's charge and book another event in its place",
        {
            **_OF_BODIES,
            202: ("Kafka has acknowledged both", ("Replacing",)),
            403: ("the new event is another customer's; nothing was taken", ("Refused",)),
            404: unknown,
        },
        description=_AMEND,
        parameters=parameters,
        body={JSON: ("ReplaceRequest", {"replacement": REPLACEMENT})},
    )
    return {
        "/v1/events/{event_id}/void": {"post": void},
        "/v1/events/{event_id}/replace": {"post": replace},
    }


def _letter_paths() -> dict[str, Any]:
    listed = _operation(
        "listDeadLetters",
        "dead letters",
        "The caller's open dead letters",
        {**_OF_CALLERS, 200: ("the oldest hundred, and how many there are", ("OpenLetters",))},
    )
    replay = _operation(
        "replayDeadLetters",
        "dead letters",
        "Send dead letters again",
        {**_OF_BODIES, 200: ("they are written to Kafka again", ("Replayed",))},
        body={JSON: ("ReplayRequest", {"some": {"jobIds": ["dl_0_0_17_0"]}})},
        is_body_required=False,
    )
    return {"/v1/events/dlq": {"get": listed}, "/v1/events/dlq/replay": {"post": replay}}


def _service_paths() -> dict[str, Any]:
    unready = {503: ("Postgres or Kafka does not answer", ("NotReady",))}
    found: dict[str, tuple[str, str, _Answers]] = {
        "/health": ("health", "The process answers", {200: ("it does", ("Alive",))}),
        "/ready": (
            "ready",
            "Events can be taken in",
            {200: ("Postgres and Kafka answer", ("Ready",)), **unready},
        ),
        "/v1/info": ("info", "What this is", {200: ("name, version, routes", ("Info",))}),
        "/openapi.json": ("document", "This document", {200: ("OpenAPI 3.1", ("Document",))}),
    }
    paths = {
        path: {"get": _operation(name, "service", summary, {**_OF_HTTP, **own}, is_secured=False)}
        for path, (name, summary, own) in found.items()
    }
    # It is not counted: an orchestrator asks often.
    del paths["/ready"]["get"]["responses"]["429"]
    return paths


def _operation(
    name: str,
    tag: str,
    summary: str,
    found: _Answers,
    *,
    description: str = "",
    parameters: list[dict[str, Any]] | None = None,
    body: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None,
    is_body_required: bool = True,
    is_secured: bool = True,
) -> dict[str, Any]:
    # With a key, the first question of an unknown one may find the database away.
    if not is_secured:
        found = {503: ("a service that the key needs is away", ("Unavailable",)), **found}
    operation: dict[str, Any] = {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "security": _SECURED if is_secured else [],
        "responses": {str(status): _response(status, *found[status]) for status in sorted(found)},
    }
    if description:
        operation["description"] = description
    if parameters:
        operation["parameters"] = parameters
    if body:
        operation["requestBody"] = {
            "required": is_body_required,
            "content": {
                media_type: {
                    "schema": ref(kind),
                    "examples": {key: {"value": value} for key, value in examples.items()},
                }
                for media_type, (kind, examples) in body.items()
            },
        }
    return operation


def _response(status: int, meaning: str, kinds: tuple[str, ...]) -> dict[str, Any]:
    schemas = [ref(kind) for kind in kinds]
    content: dict[str, Any] = {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
    examples = {kind: {"value": ANSWERS[kind]} for kind in kinds if kind in ANSWERS}
    if examples:
        content["examples"] = examples
    headers = {name: _integer_header(what) for name, what in _RATE_HEADERS.items()}
    if status in {429, 503}:
        headers["Retry-After"] = _integer_header("seconds to wait")
    if status == 401:  # noqa: PLR2004 -- unauthorized
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}}
    return {"description": meaning, "headers": headers, "content": {JSON: content}}


def _integer_header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "integer", "minimum": 0}}


def _in_path(name: str, description: str, pattern: str | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {
            "type": "string",
            "minLength": 1,
            **({"pattern": pattern} if pattern else {}),
        },
        "description": description,
    }

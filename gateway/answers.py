"""The answers of the HTTP interface as types: what `/openapi.json` says of them.

Handlers build plain dicts; `tests/integration/gateway/test_api_document.py` holds the two together.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from schemas.dead_letter import Reason

_closed = with_config(ConfigDict(extra="forbid"))
_Count = Annotated[int, Field(ge=0)]
_LetterStatus = Literal["OPEN", "REPLAYED", "DISCARDED"]


@_closed
class WrongField(TypedDict):
    """A field that is wrong, by its path within the event."""

    path: str
    message: str


@_closed
class RejectedEvent(TypedDict):
    """An event that a lenient request left out."""

    index: Annotated[int, Field(ge=0, description="place in the batch, from 0")]
    errors: list[WrongField]


@_closed
class Accepted(TypedDict):
    """Kafka has acknowledged the events: each will be charged once."""

    accepted: _Count
    rejected: _Count
    duplicates: Annotated[int, Field(ge=0, description="advice; the ledger decides")]
    batch_id: Annotated[str | None, Field(description="for `GET /v1/batches/{batch_id}`")]
    status: Literal["processing"]
    processing_time_ms: _Count
    errors: NotRequired[list[RejectedEvent]]


@_closed
class AllDuplicates(TypedDict):
    """Every event was seen within the hour."""

    accepted: Literal[0]
    rejected: _Count
    duplicates: _Count
    batch_id: None
    status: Literal["all_duplicates"]
    message: str
    errors: NotRequired[list[RejectedEvent]]


@_closed
class Voiding(TypedDict):
    """Kafka has acknowledged a void: what the event was charged will be refunded once."""

    event_id: Annotated[str, Field(description="of the event that is voided")]
    batch_id: Annotated[str | None, Field(description="for `GET /v1/batches/{batch_id}`")]
    status: Literal["processing"]
    processing_time_ms: _Count


@_closed
class Replacing(Voiding):
    """Kafka has acknowledged a replacement: a refund and a charge, both once or neither."""

    replaced_by: Annotated[str, Field(description="of the event that takes its place")]


@_closed
class ValidationFailed(TypedDict):
    """What is wrong, by field."""

    error: Literal["VALIDATION_ERROR"]
    message: str
    details: Annotated[
        dict[str, Any],
        Field(description="a tree by field name or index, each node with `_errors`"),
    ]


@_closed
class Refused(TypedDict):
    """The key, the customer or the thing asked for is not right."""

    error: Literal["UNAUTHORIZED", "FORBIDDEN", "NOT_FOUND"]
    message: str


@_closed
class Unavailable(TypedDict):
    """A service that the request needs does not answer: send the same again."""

    error: Literal["SERVICE_UNAVAILABLE"]
    message: str
    cause: Literal["queue", "database", "memory"]


@_closed
class HttpRefusal(TypedDict):
    """What concerns HTTP itself: size, kind, rate, route."""

    statusCode: Annotated[int, Field(ge=400, lt=500)]
    error: str
    message: str


@_closed
class Alive(TypedDict):
    """The process answers."""

    status: Literal["ok"]
    timestamp: str


_Connection = Literal["connected", "disconnected"]


@_closed
class Services(TypedDict):
    """Which services answer."""

    database: _Connection
    queue: _Connection


@_closed
class Ready(TypedDict):
    """Events can be taken in, customers found."""

    status: Literal["ready"]
    timestamp: str
    services: Services


@_closed
class NotReady(TypedDict):
    """A service that is needed does not answer."""

    status: Literal["not_ready"]
    timestamp: str
    services: Services
    error: str


@_closed
class Info(TypedDict):
    """What this is and where to ask."""

    service: str
    version: str
    endpoints: dict[str, str]


@_closed
class Place(TypedDict):
    """Where an event stands in `usage.raw`."""

    partition: _Count
    epoch: _Count
    offset: _Count
    index: _Count


@_closed
class FirstPlace(TypedDict):
    """Where the first of two events stands."""

    partition: _Count
    offset: _Count
    index: _Count


@_closed
class Letter(TypedDict):
    """A dead letter."""

    id: str
    reason: Reason
    message: str
    status: _LetterStatus


@_closed
class LetterOfBatch(Letter):
    """A dead letter, and the event that it holds, if that could be read."""

    event_id: str | None


@_closed
class Outcomes(TypedDict):
    """How many events came to what."""

    charged: _Count
    duplicate: _Count
    dead_letter: _Count


@_closed
class Queued(TypedDict):
    """A batch that is not in the ledger yet."""

    batch_id: str
    events: NotRequired[_Count]
    status: Literal["queued"]


@_closed
class Committed(TypedDict):
    """A batch that stands in the ledger."""

    batch_id: str
    events: _Count
    status: Literal["committed"]
    outcomes: Outcomes
    credits_burned: int
    dead_letters: list[LetterOfBatch]


@_closed
class Transaction(TypedDict):
    """What an event took from a wallet, in whole credits."""

    id: str
    wallet_id: str
    amount: int
    balance_before: int
    balance_after: int
    created_at: str


@_closed
class Voided(TypedDict):
    """By what an event was undone; `voided_by`: the event in its place, or the void's own."""

    voided_by: str
    is_replaced: bool
    reason: str
    created_at: str


@_closed
class ChargedEvent(TypedDict):
    """An event that stands in the ledger."""

    event_id: str
    status: Literal["charged"]
    credits: int
    cost_usd: str
    timestamp: str
    source: Place
    transaction: Annotated[Transaction | None, Field(description="null: it cost nothing")]
    voided: NotRequired[Annotated[Voided, Field(description="its credits were given back")]]


@_closed
class DuplicateEvent(TypedDict):
    """An event that repeats a charged one."""

    event_id: str
    status: Literal["duplicate"]
    source: Place
    duplicate_of: FirstPlace | None
    idempotency_key: str | None


@_closed
class DeadEvent(TypedDict):
    """An event that could not be charged."""

    event_id: str
    status: Literal["dead_letter"]
    source: Place
    dead_letter: Letter


@_closed
class LetterCounts(TypedDict):
    """How many letters are open."""

    active: _Count


@_closed
class OpenLetter(TypedDict):
    """An open dead letter and its content: JSON, else base64; of a large one nothing."""

    id: str
    name: Literal["dlq-event"]
    data: Any
    data_base64: NotRequired[str]
    timestamp: Annotated[int, Field(description="milliseconds since 1970")]
    failedReason: str
    reason: Reason
    event_id: str | None
    bytes: _Count
    source: Place


@_closed
class OpenLetters(TypedDict):
    """The caller's open dead letters, the oldest hundred."""

    counts: LetterCounts
    items: list[OpenLetter]


@_closed
class Replayed(TypedDict):
    """How many letters were written to Kafka again."""

    message: str
    count: _Count
    refused: NotRequired[Annotated[list[str], Field(description="too large for a record")]]


class ReplayRequest(TypedDict):
    """Which dead letters to replay; without `jobIds` the oldest thousand."""

    jobIds: NotRequired[Annotated[list[str], Field(max_length=1000)]]


class Document(TypedDict):
    """An OpenAPI document."""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]

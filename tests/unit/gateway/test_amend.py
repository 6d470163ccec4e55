"""Requests to void or replace an event: what they come to, and how they are answered."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.amend.commands import app
from gateway.amend.request import read_replacement, read_void
from gateway.errors import UnavailableError
from gateway.ingest import ForeignCustomerError
from schemas.corrections import Correction, read_correction
from schemas.events import InvalidBatchError, NotJsonError
from schemas.timestamps import TimestampPolicy
from tests.unit.gateway.fakes import CUSTOMER, EVENT, running_gateway

VOIDED = "550e8400-e29b-41d4-a716-4466554400ab"
REASON = {"reason": "sent twice"}
VOID = {"customer_id": CUSTOMER, "event_id": VOIDED, **REASON}
NOW_MILLISECONDS = 1_737_210_600_000  # a day after EVENT
PATH = f"/v1/events/{VOIDED}"


def replacement(body: Any, event_id: str = VOIDED) -> Correction:
    return read_replacement(
        json.dumps(body).encode(),
        CUSTOMER,
        event_id,
        now_milliseconds=NOW_MILLISECONDS,
        policy=TimestampPolicy(past_days_max=30, future_seconds_max=0),
    )


def test_a_void_is_of_the_callers_event() -> None:
    """Customer and id are the key's and the path's; the id as the ledger holds it."""
    body = json.dumps(REASON | {"requested_by": "ann"}).encode()

    assert read_void(body, CUSTOMER, VOIDED.upper()) == Correction(
        VOID | {"requested_by": "ann"},  # type: ignore[arg-type]
        None,
    )


def test_a_replacement_brings_an_event_like_any_other() -> None:
    """What is settled of an ingested event is settled of it."""
    found = replacement(REASON | {"event": EVENT | {"idempotency_key": "", "unknown": 1}})

    assert found == Correction(VOID, EVENT)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "event_id", "path"),
    [
        ({}, VOIDED, ("reason",)),
        ({"reason": ""}, VOIDED, ("reason",)),
        ({"reason": None}, VOIDED, ("reason",)),
        (REASON | {"requested_by": 5}, VOIDED, ("requested_by",)),
        (REASON | {"event": EVENT}, VOIDED, ("event",)),
        (REASON | {"customer_id": "other"}, VOIDED, ("customer_id",)),
        (REASON, "dlq", ("event_id",)),
        ([], VOIDED, ()),
    ],
)
def test_a_wrong_void_is_told_by_field(body: Any, event_id: str, path: tuple[str, ...]) -> None:
    """Also what a void has no use for: an event there would be lost silently."""
    with pytest.raises(InvalidBatchError) as caught:
        read_void(json.dumps(body).encode(), CUSTOMER, event_id)

    assert [error.path for error in caught.value.errors] == [path]


@pytest.mark.parametrize(
    ("body", "event_id", "path"),
    [
        (REASON, VOIDED, ("event",)),
        (REASON | {"evnt": EVENT, "event": EVENT}, VOIDED, ("evnt",)),
        (REASON | {"event": EVENT | {"feature_id": 5}}, VOIDED, ("event", "feature_id")),
        (REASON | {"event": EVENT}, EVENT["event_id"].upper(), ("event", "event_id")),
        (REASON | {"event": EVENT}, "", ("event_id",)),
        (
            REASON | {"event": EVENT | {"timestamp": "2024-12-01T00:00:00Z"}},
            VOIDED,
            ("event", "timestamp"),
        ),
    ],
)
def test_a_wrong_replacement_is_told_by_field(
    body: Any, event_id: str, path: tuple[str, ...]
) -> None:
    """Nothing of it counts; its event's time is judged as that of an ingested one."""
    with pytest.raises(InvalidBatchError) as caught:
        replacement(body, event_id)

    assert [error.path for error in caught.value.errors] == [path]


@pytest.mark.parametrize("body", [b"", b"{", b'{"reason": NaN}', b"\xff"])
def test_what_is_no_json_is_told_apart(body: bytes) -> None:
    """As of a batch of events."""
    with pytest.raises(NotJsonError):
        read_void(body, CUSTOMER, VOIDED)


def test_the_new_event_is_the_callers_own() -> None:
    """Another customer's is refused as an ingested one is."""
    with pytest.raises(ForeignCustomerError):
        replacement(REASON | {"event": EVENT | {"customer_id": "other"}})


async def test_a_correction_is_one_record() -> None:
    """Answered with where to ask for it; a number that no JSON writer holds does no harm."""
    event = EVENT | {"provider_response": {"usage": 1 << 70}}
    async with running_gateway() as gateway:
        voided = await gateway.post(f"{PATH}/void", json.dumps(REASON).encode())
        replaced = await gateway.post(
            f"{PATH}/replace", json.dumps(REASON | {"event": event}).encode()
        )

        first, second = map(read_correction, gateway.producer.written)
    for status, answer in (voided, replaced):
        assert status == 202
        assert answer.pop("batch_id").startswith("batch_")
        assert isinstance(answer.pop("processing_time_ms"), int)
    assert voided[1] == {"event_id": VOIDED, "status": "processing"}
    assert replaced[1] == voided[1] | {"replaced_by": EVENT["event_id"]}
    assert first == Correction(VOID, None)  # type: ignore[arg-type]
    assert second == Correction(VOID, EVENT)  # type: ignore[arg-type]


@pytest.mark.parametrize("deed", ["void", "replace"])
async def test_what_is_refused_is_not_written(deed: str) -> None:
    """No key, another's event, a body that is wrong: by status, and by field."""
    event = EVENT | {"customer_id": "other"}
    foreign = json.dumps(REASON | {"event": event}).encode()
    async with running_gateway() as gateway:
        path = f"{PATH}/{deed}"
        assert (await gateway.post(path, b"{}", x_api_key="om_test_wrong"))[0] == 401
        assert (await gateway.post(path, foreign))[0] == (403 if deed == "replace" else 400)
        assert (await gateway.post(path, b"{}", content_type="text/plain"))[0] == 415
        for odd in ("x", "%ff", "x%00y"):
            assert (await gateway.post(f"/v1/events/{odd}/{deed}", foreign))[0] in {400, 403}
        status, answer = await gateway.post(path, b'{"reason": ""}')

        assert (status, answer["error"]) == (400, "VALIDATION_ERROR")
        assert answer["message"] == "Invalid correction"
        assert answer["details"]["reason"]["_errors"] == ["String should have at least 1 character"]
        assert gateway.producer.written == []


async def test_an_outage_is_no_answer() -> None:
    """As for events: 503, send the same again."""
    async with running_gateway() as gateway:
        gateway.producer.error = UnavailableError("queue", "Kafka is away")
        status, answer = await gateway.post(f"{PATH}/void", json.dumps(REASON).encode())

    assert (status, answer["cause"]) == (503, "queue")


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        (["void", "x"], "", "event_id: Invalid uuid"),
        (["void", VOIDED, "--reason", ""], "", "reason: String should have at least 1 character"),
        (["void", VOIDED, "--by", "x" * 513], "", "requested_by: "),
        (["amend", VOIDED, "--event", "none.json"], "", "--event none.json: No such file"),
        (["amend", VOIDED, "--event", "-"], "{", "--event -: no JSON: "),
        (
            ["amend", VOIDED, "--event", "-"],
            json.dumps(EVENT) + ',"reason":"another"',
            "--event -: no JSON: ",
        ),
        (["amend", VOIDED, "--event", "-"], "[]", "event: Expected object"),
        (["amend", VOIDED, "--event", "-"], "{}", "event.event_id: Required"),
        (
            ["amend", VOIDED, "--event", "-"],
            json.dumps(EVENT | {"customer_id": "other"}),
            "event.customer_id: Must be 'cust'",
        ),
        (["amend", EVENT["event_id"], "--event", "-"], json.dumps(EVENT), "event.event_id: "),
    ],
)
def test_a_wrong_argument_is_said_in_one_line(arguments: list[str], text: str, said: str) -> None:
    """Exit code 2, by field, before Kafka is asked."""
    options = ["--customer", CUSTOMER, "--reason", "r"]
    done = CliRunner().invoke(app, [*arguments[:2], *options, *arguments[2:]], input=text)

    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_unreachable_kafka_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the cause and the variable; nothing was written."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")

    done = CliRunner().invoke(app, ["void", VOIDED, "--customer", CUSTOMER, "--reason", "r"])

    assert done.exit_code == 69
    assert "KAFKA_BOOTSTRAP_SERVERS" in done.stderr
    assert done.stderr.count("\n") == 1

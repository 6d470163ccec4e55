import json
from datetime import UTC, datetime

import pytest

from burnstream_client.answers import RETRY_AFTER_SECONDS_MAX, Answer, Fate, judge
from gateway.ingest import Batch, Rejection, details_tree
from gateway.ingest import answer as gateways_answer
from schemas.events import FieldError

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def of(status: int, body: object = None, retry_after: str | None = None) -> Answer:
    return Answer(status, json.dumps(body).encode() if body is not None else b"", retry_after)


def test_taken_events_are_settled() -> None:
    """202 and 200 settle all, but for those that the gateway left out, by their places."""
    rejection = Rejection(1, (FieldError(("model",), "Expected string"),))
    status, body = gateways_answer(Batch([], [rejection]), 0, None, 1)

    judgement = judge(of(status, body), 3, NOW)

    assert judgement.fate is Fate.SETTLED
    assert judgement.refused == {1: "model: Expected string"}
    assert judge(of(202, {"accepted": 3}), 3, NOW).refused == {}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 404, 302, 415])
def test_what_may_pass_is_sent_again(status: int) -> None:
    """Every answer that does not refuse the events themselves is waited out."""
    assert judge(of(status, {"message": "later"}), 2, NOW).fate is Fate.AGAIN


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"[]", b"{}", b""])
def test_a_success_of_somebody_else_takes_nothing(body: bytes) -> None:
    """A 200 that is not the gateway's (a proxy's page) does not settle anything."""
    assert judge(Answer(200, body), 1, NOW).fate is Fate.AGAIN


@pytest.mark.parametrize("status", [400, 403, 413])
def test_what_some_events_caused_is_tried_in_halves(status: int) -> None:
    """A refusal that names no event is split until one is left, which is refused."""
    answer = of(status, {"message": "no"})

    assert judge(answer, 2, NOW).fate is Fate.SPLIT
    alone = judge(answer, 1, NOW)
    assert (alone.fate, alone.refused, alone.status) == (
        Fate.SETTLED,
        {0: f"{status}: no"},
        status,
    )


def test_a_wrong_key_refuses_all() -> None:
    """401 is for good, for each of them."""
    judgement = judge(of(401, {"message": "Invalid or missing API key"}), 2, NOW)

    assert judgement.status == 401
    assert judgement.refused.keys() == {0, 1}


def test_a_400_that_names_all_refuses_all() -> None:
    """Where every event is named by `details` none is tried again, and each has its reason."""
    details = details_tree(
        [
            FieldError(("events", 0, "event_id"), "Invalid uuid"),
            FieldError(("events", 1, "metadata"), "Expected object"),
        ]
    )
    body = {"message": "Invalid event batch format", "details": details}

    assert judge(of(400, body), 2, NOW).refused == {
        0: "event_id: Invalid uuid",
        1: "metadata: Expected object",
    }
    assert judge(of(400, body), 3, NOW).fate is Fate.SPLIT


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("Wed, 01 Jan 2025 00:00:09 GMT", 9.0),
        ("Wed, 01 Jan 2020 00:00:09 GMT", 0.0),
        ("999999", RETRY_AFTER_SECONDS_MAX),
        ("soon", 0.0),
        (None, 0.0),
    ],
)
def test_retry_after_is_read(header: str | None, seconds: float) -> None:
    """Seconds or a date, within bounds; anything else is as if it were not there."""
    assert judge(of(503, {}, header), 1, NOW).wait_seconds == seconds

"""The HTTP interface over stand-ins: bodies, codes and headers as callers see them."""

import asyncio
import gzip
import json
import re
from typing import Any

import pytest

from gateway.errors import UnavailableError
from tests.unit.gateway.fakes import EVENT, running_gateway

BATCH = json.dumps({"events": [EVENT]}).encode()


def batch(*events: dict[str, Any]) -> bytes:
    return json.dumps({"events": [EVENT | one for one in events]}).encode()


async def test_missing_or_wrong_key_is_unauthorized() -> None:
    """Guide 4.1, and any key that is nobody's."""
    async with running_gateway() as gateway:
        for key in ("", "om_test_wrong", "\u00fc"):
            status, answer = await gateway.ingest(BATCH, x_api_key=key)

            assert status == 401
            assert answer == {"error": "UNAUTHORIZED", "message": "Invalid or missing API key"}
        assert gateway.producer.written == []


async def test_events_are_accepted_and_their_repetition_is_a_duplicate() -> None:
    """Guide 4.2 and 4.3; the duplicate is written all the same: Redis only advises."""
    async with running_gateway() as gateway:
        status, answer = await gateway.ingest(BATCH)

        assert status == 202
        assert re.fullmatch(r"batch_[A-Za-z0-9_-]{20,}", answer.pop("batch_id"))
        assert isinstance(answer.pop("processing_time_ms"), int)
        assert answer == {"accepted": 1, "rejected": 0, "duplicates": 0, "status": "processing"}

        assert await gateway.ingest(BATCH) == (
            200,
            {
                "accepted": 0,
                "rejected": 0,
                "duplicates": 1,
                "batch_id": None,
                "status": "all_duplicates",
                "message": "All events were duplicates",
            },
        )
        assert len(gateway.producer.written) == 2


async def test_foreign_customer_is_forbidden() -> None:
    """Guide 6.1."""
    async with running_gateway() as gateway:
        assert await gateway.ingest(batch({"customer_id": "other"})) == (
            403,
            {
                "error": "FORBIDDEN",
                "message": "Events contain invalid customer_id. "
                "All events must belong to the authenticated customer.",
            },
        )


async def test_invalid_schema_is_answered_with_details() -> None:
    """Guide 6.2."""
    async with running_gateway() as gateway:
        status, answer = await gateway.ingest(
            batch({"event_id": "not-a-uuid", "event_type": "INVALID_TYPE"})
        )

    assert status == 400
    assert answer["error"] == "VALIDATION_ERROR"
    assert answer["message"] == "Invalid event batch format"
    details = answer["details"]
    assert details["_errors"] == []
    assert details["events"]["0"]["event_id"] == {"_errors": ["Invalid uuid"]}
    assert details["events"]["0"]["event_type"]["_errors"][0].endswith("received 'INVALID_TYPE'")


async def test_lenient_answer_counts_and_names_what_was_left_out() -> None:
    """`Prefer: handling=lenient` saves the good events of a batch."""
    async with running_gateway() as gateway:
        status, answer = await gateway.ingest(batch({}, {"model": 5}), Prefer="handling=lenient")

        assert status == 202
        assert (answer["accepted"], answer["rejected"]) == (1, 1)
        assert answer["errors"] == [
            {
                "index": 1,
                "errors": [{"path": "model", "message": "Expected string, received number"}],
            }
        ]
        assert [len(json.loads(v)["events"]) for v in gateway.producer.written] == [1]


async def test_events_that_kafka_did_not_take_are_not_accepted() -> None:
    """503 with Retry-After, and nothing is remembered: the repetition is no duplicate."""
    async with running_gateway() as gateway:
        gateway.producer.error = UnavailableError("queue", "Kafka is away")
        async with gateway.client.post(
            f"{gateway.url}/v1/events/ingest", data=BATCH, headers=gateway.headers
        ) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert (await answer.json())["cause"] == "queue"

        gateway.producer.error = None
        status, body = await gateway.ingest(BATCH)
        assert (status, body["duplicates"]) == (202, 0)


async def test_gzip_body_is_inflated_within_the_limit() -> None:
    """The limit holds for the body as sent and as inflated."""
    async with running_gateway(body_bytes_max=10_000) as gateway:
        status, _ = await gateway.ingest(gzip.compress(BATCH), Content_Encoding="gzip")
        assert status == 202
        status, _ = await gateway.ingest(gzip.compress(b" " * 10_001), Content_Encoding="gzip")
        assert status == 413
        status, answer = await gateway.ingest(gzip.compress(BATCH)[:-5], Content_Encoding="gzip")
        assert status == 400
        assert "gzip" in answer["details"]["_errors"][0]
        status, _ = await gateway.ingest(b" " * 10_001)
        assert status == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Encoding": "br"},
        {"Content_Encoding": "gzip, gzip"},
    ],
)
async def test_other_forms_of_body_are_unsupported(headers: dict[str, str]) -> None:
    """415 says what is wrong before the body is read."""
    async with running_gateway() as gateway:
        status, answer = await gateway.ingest(BATCH, **headers)

    assert status == 415
    assert answer["statusCode"] == 415


async def test_health_and_readiness_have_the_guides_bodies() -> None:
    """Guide 3.2: exactly two services, and 503 when one is away."""
    async with running_gateway() as gateway:
        async with gateway.client.get(f"{gateway.url}/health") as answer:
            body = await answer.json()
            assert set(body) == {"status", "timestamp"}
            assert body["status"] == "ok"
        async with gateway.client.get(f"{gateway.url}/ready") as answer:
            body = await answer.json()
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body.pop("timestamp"))
            assert body == {
                "status": "ready",
                "services": {"database": "connected", "queue": "connected"},
            }


async def test_readiness_names_what_is_away() -> None:
    """A load balancer takes the process out; a person reads why."""
    async with running_gateway() as gateway:
        gateway.postgres.is_away = True
        async with gateway.client.get(f"{gateway.url}/ready") as answer:
            assert answer.status == 503
            body = await answer.json()

    assert body["status"] == "not_ready"
    assert body["services"] == {"database": "disconnected", "queue": "connected"}


async def test_health_has_a_bucket_of_its_own() -> None:
    """Guide 6.3: the call beyond the limit is 429; ingestion of the same peer goes on."""
    async with running_gateway(rate_limit_max=20) as gateway:
        statuses = []
        for _ in range(20):
            async with gateway.client.get(f"{gateway.url}/health") as answer:
                statuses.append(answer.status)
        async with gateway.client.get(f"{gateway.url}/health") as answer:
            statuses.append(answer.status)
            body, headers = await answer.json(), answer.headers
        ingested, _ = await gateway.ingest(BATCH)
        async with gateway.client.get(f"{gateway.url}/ready") as answer:
            ready = answer.status

    assert statuses == [200] * 20 + [429]
    assert body["statusCode"] == 429
    assert body["error"] == "Too Many Requests"
    assert re.fullmatch(r"Rate limit exceeded, retry in \d+ seconds", body["message"])
    assert headers["X-RateLimit-Limit"] == "20"
    assert headers["X-RateLimit-Remaining"] == "0"
    assert headers["Retry-After"] == headers["X-RateLimit-Reset"]
    assert (ingested, ready) == (202, 200)


async def test_wrong_keys_use_up_the_peers_bucket_and_not_the_customers() -> None:
    """Trying keys is limited by address; the customer behind the same address is not."""
    async with running_gateway(rate_limit_max=3) as gateway:
        statuses = [(await gateway.ingest(BATCH, x_api_key=f"om_{n}"))[0] for n in range(4)]

        assert statuses == [401, 401, 401, 429]
        assert (await gateway.ingest(BATCH))[0] == 202


async def test_every_answer_is_json_with_safe_headers() -> None:
    """Whatever is asked: no page of a framework, no name of the software."""
    async with running_gateway() as gateway:
        for method, path, status in (
            ("GET", "/nothing", 404),
            ("DELETE", "/v1/events/ingest", 405),
            ("GET", "/v1/events/dlq", 401),
            ("GET", "/health", 200),
        ):
            async with gateway.client.request(method, gateway.url + path) as answer:
                assert answer.status == status
                assert answer.content_type == "application/json"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Cache-Control"] == "no-store"
                assert "Server" not in answer.headers
                await answer.json()


async def test_body_shorter_than_announced_does_no_harm() -> None:
    """A caller that breaks off is no failure, and nothing of it is written."""
    async with running_gateway(body_timeout_seconds=0.2) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        head = "\r\n".join(f"{name}: {value}" for name, value in gateway.headers.items())
        request = f"POST /v1/events/ingest HTTP/1.1\r\nHost: x\r\n{head}\r\nContent-Length: 9999"
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request.encode() + b"\r\n\r\n" + BATCH)
        first_line = await reader.readline()
        writer.close()
        broken_off = (await asyncio.open_connection(host, int(port)))[1]
        broken_off.write(request.encode() + b"\r\n\r\n" + BATCH)
        broken_off.close()

        assert b"408" in first_line
        assert (await gateway.ingest(BATCH))[0] == 202
        assert len(gateway.producer.written) == 1


@pytest.mark.parametrize(
    "path", ["/v1/batches/", "/v1/events/", "/v1/events/x%00y", "/v1/events/%ff"]
)
async def test_odd_paths_are_not_found(path: str) -> None:
    """Nonsense in a path reaches no database."""
    async with (
        running_gateway() as gateway,
        gateway.client.get(gateway.url + path, headers=gateway.headers) as answer,
    ):
        assert answer.status == 404


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"jobIds":"x"}',
        b'{"jobIds":[1]}',
        b'{"jobIds":["\\u0000"]}',
        b'{"jobIds":null}',
    ],
)
async def test_replay_takes_only_a_list_of_ids(body: bytes) -> None:
    """What is no list of ids replays nothing, least of all everything."""
    async with (
        running_gateway() as gateway,
        gateway.client.post(
            f"{gateway.url}/v1/events/dlq/replay", data=body, headers=gateway.headers
        ) as answer,
    ):
        assert answer.status == 400
        assert gateway.postgres.questions == []

"""CloudEvents over HTTP, over stand-ins for what lies behind the gateway."""

import json
from typing import Any

from schemas.cloud_events import BATCH, STRUCTURED, usage_event_id
from schemas.events import validate_each
from tests.unit.gateway.fakes import CUSTOMER, Gateway, running_gateway

CLOUD_EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "4711",
    "source": "/shops/berlin",
    "type": "com.example.api_call",
    "subject": CUSTOMER,
    "time": "2026-01-17T15:30:00+01:00",
    "data": {"feature_id": "f"},
}
USAGE_EVENT = {
    "event_id": usage_event_id("/shops/berlin", "4711"),
    "idempotency_key": "/shops/berlin 4711",
    "customer_id": CUSTOMER,
    "event_type": "API_CALL",
    "timestamp": "2026-01-17T14:30:00Z",
    "feature_id": "f",
}


async def send(
    gateway: Gateway, value: Any, content_type: str = STRUCTURED, **headers: str
) -> tuple[int, dict[str, Any]]:
    body = json.dumps(value).encode()
    return await gateway.ingest(body, content_type=content_type, **headers)


async def test_all_three_ways_are_one_event() -> None:
    """Written in our own form; what comes another way again is a duplicate."""
    async with running_gateway() as gateway:
        status, answer = await send(gateway, CLOUD_EVENT)
        batch = await send(gateway, [CLOUD_EVENT, CLOUD_EVENT | {"id": "4712"}], BATCH)
        attributes = {f"ce_{name}": v for name, v in CLOUD_EVENT.items() if name != "data"}
        binary = await send(gateway, CLOUD_EVENT["data"], "application/json", **attributes)

        assert (status, answer["accepted"]) == (202, 1)
        assert (batch[0], batch[1]["accepted"], batch[1]["duplicates"]) == (202, 1, 1)
        assert (binary[0], binary[1]["duplicates"]) == (200, 1)
        written = [event for value in gateway.producer.written for event in validate_each(value)]
        assert [written[0], written[1], written[3]] == [USAGE_EVENT] * 3


async def test_a_bad_cloud_event_is_refused_with_its_reason() -> None:
    """By attribute where the CloudEvent is wrong, by field where the usage event is."""
    async with running_gateway() as gateway:
        status, answer = await send(gateway, CLOUD_EVENT | {"time": "noon", "id": ""})
        assert status == 400
        wrong = answer["details"]["events"]["0"]
        assert wrong["id"] == {"_errors": ["Expected a text that is not empty"]}
        assert wrong["time"]["_errors"][0].startswith("Expected a time as RFC 3339 has it")

        status, answer = await send(gateway, CLOUD_EVENT | {"type": "com.example.order"})
        assert status == 400
        assert "event_type" in answer["details"]["events"]["0"]

        values: list[Any] = [[], {}, "x", [5]]
        for value in values:
            assert (await send(gateway, value, BATCH))[0] == 400
        assert (await send(gateway, CLOUD_EVENT | {"subject": "other"}))[0] == 403
        assert (await send(gateway, CLOUD_EVENT | {"time": "2999-01-01T00:00:00Z"}))[0] == 400
        assert gateway.producer.written == []


async def test_a_lenient_request_takes_the_good_ones() -> None:
    """Those left out are named by their place in the batch."""
    async with running_gateway() as gateway:
        batch = [CLOUD_EVENT | {"source": "a b"}, CLOUD_EVENT]
        status, answer = await send(gateway, batch, BATCH, Prefer="handling=lenient")
        strictly = await send(gateway, batch, BATCH)

        assert (status, answer["accepted"], answer["rejected"]) == (202, 1, 1)
        assert answer["errors"] == [
            {
                "index": 0,
                "errors": [{"path": "source", "message": "Must hold no white space"}],
            }
        ]
        assert strictly[0] == 400

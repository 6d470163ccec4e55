"""The API document: whole, valid, with examples that are taken; the page that shows it."""

import json
import re
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.api_document import JSON, api_document
from gateway.api_examples import ANSWERS, CLOUD_EVENT
from gateway.app import build_app
from gateway.settings import GatewaySettings
from schemas.cloud_events import usage_event_json
from schemas.events import InvalidBatchError, InvalidEvent, validate_each
from tests.api_conformance import operations, require_conformance, require_valid
from tests.contract.verdicts import ABSENT, TAKEN, VERDICTS
from tests.unit.gateway.fakes import EVENT, running_gateway

INGEST = operations()["POST", "/v1/events/ingest"]
PAGE_ROUTES = {("GET", "/docs"), ("GET", "/docs/{file}")}
EXAMPLES = [
    (media_type, example["value"])
    for media_type, content in INGEST["requestBody"]["content"].items()
    for example in content["examples"].values()
]


def test_the_document_is_openapi() -> None:
    """It is valid by the schema of OpenAPI 3.1."""
    OpenAPIV31SpecValidator(api_document()).validate()


def test_every_route_is_in_the_document() -> None:
    """The routes of the gateway and the operations of the document are the same."""
    router = build_app(GatewaySettings(_env_file=None)).router
    routes = {
        (route.method, route.resource.canonical)
        for route in router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert routes - PAGE_ROUTES == operations().keys()


def test_every_operation_has_examples_of_its_own_kind() -> None:
    """Examples of answers are valid, each by its type; none is left over."""
    schemas = api_document()["components"]["schemas"]
    assert ANSWERS.keys() <= schemas.keys()
    for kind, answer in ANSWERS.items():
        require_valid(answer, schemas[kind])
    for operation in operations().values():
        for response in operation["responses"].values():
            content = response["content"][JSON]
            for example in content.get("examples", {}).values():
                require_valid(example["value"], content["schema"])


@pytest.mark.parametrize(("media_type", "value"), EXAMPLES)
async def test_examples_of_requests_are_taken(media_type: str, value: Any) -> None:
    """What the document shows can be sent as it stands."""
    text = json.dumps(value).replace("cust-demo", "cust").encode()
    async with running_gateway() as gateway:
        status, answer = await gateway.ingest(text, content_type=media_type)
    assert (status, answer["accepted"]) == (202, 1)
    require_valid(value, INGEST["requestBody"]["content"][media_type]["schema"])
    require_conformance("POST", "/v1/events/ingest", status, answer)


@pytest.mark.parametrize("deed", ["void", "replace"])
async def test_examples_of_corrections_are_taken(deed: str) -> None:
    """What the document shows can be sent as it stands, and is answered as it shows."""
    path = f"/v1/events/{EVENT['event_id']}/{deed}"
    body = operations()["POST", f"/v1/events/{{event_id}}/{deed}"]["requestBody"]["content"][JSON]
    for example in body["examples"].values():
        require_valid(example["value"], body["schema"])
        text = json.dumps(example["value"]).replace("cust-demo", "cust").encode()
        async with running_gateway() as gateway:
            status, answer = await gateway.post(path, text)
        assert (status, answer["event_id"]) == (202, EVENT["event_id"])
        require_conformance("POST", path, status, answer)


def test_what_the_door_takes_the_document_takes() -> None:
    """A field's value that is valid is valid by the document: clients made of it can send it."""
    event_schema = api_document()["components"]["schemas"]["UsageEvent"]
    for field, value, verdict in VERDICTS:
        kept = {name: own for name, own in EVENT.items() if name != field}
        if verdict is TAKEN:
            # As a client would read it: JSON has no other numbers.
            found = json.loads(json.dumps(kept if value is ABSENT else kept | {field: value}))
            require_valid(found, event_schema)


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "a b"},
        {"specversion": "0.3"},
        {"id": ""},
        {"id": 5},
        {"data": []},
        {"data": {"event_id": "x"}},
        {"data": {"events": []}},
        {"type": ""},
        {"subject": ""},
    ],
)
def test_a_cloud_event_of_the_document_is_what_is_read(changes: dict[str, Any]) -> None:
    """What the mapping refuses about a CloudEvent the document refuses."""
    schema = api_document()["components"]["schemas"]["CloudEvent"]
    [event] = validate_each(usage_event_json(CLOUD_EVENT))
    assert not isinstance(event, InvalidEvent)
    with pytest.raises(InvalidBatchError):
        usage_event_json(CLOUD_EVENT | changes)
    with pytest.raises(jsonschema.ValidationError):
        require_valid(CLOUD_EVENT | changes, schema)


async def test_the_page_uses_nothing_from_elsewhere() -> None:
    """Its files come from the gateway, its policy allows no others, and no other file is given."""
    async with running_gateway() as gateway:

        async def get(path: str) -> tuple[int, str, str, str]:
            async with gateway.client.get(gateway.url + path) as answer:
                headers = answer.headers
                policy = headers.get("Content-Security-Policy", "")
                text = (await answer.read()).decode("utf-8", "replace")
                return answer.status, headers["Content-Type"], policy, text

        status, kind, policy, page = await get("/docs")
        assert (status, kind) == (200, "text/html; charset=utf-8")
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "<style" not in page
        assert re.findall(r"<script(?! src)", page) == []
        named = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert len(named) == 4
        found = [await get(path) for path in named]
        assert [one[0] for one in found] == [200] * 4
        assert "SwaggerUIBundle" in found[-2][3]
        for path in ("/docs/swagger-ui.js", "/docs/..%2fapp.py", "/docs/docs.html"):
            assert (await get(path))[0] == 404
        status, kind, _, document = await get("/openapi.json")
        assert (status, kind) == (200, "application/json; charset=utf-8")
        assert json.loads(document) == api_document()

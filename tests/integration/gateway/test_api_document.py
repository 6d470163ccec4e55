"""schemathesis asks a real gateway what its document says: every route, good and bad requests.

The law: no 5xx but a 503 that names its cause; every answer is one that the document knows.
"""

import json
import uuid
from typing import Any

import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.api_document import JSON
from gateway.settings import GatewaySettings
from tests.api_conformance import operations
from tests.integration.gateway.conftest import add_customer
from tests.integration.gateway.hostile import CAUSES_OF_503, HostedGateway

SEED = 7
EXAMPLES = 40
CUSTOMER, API_KEY = "cust-demo", "om_test_" + "d" * 48
KEY = {"x-api-key": API_KEY}
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
# What some request of all must have been answered, or this asks nothing.
REACHED = {
    ("POST", "/v1/events/ingest"): {202, 400},
    ("POST", "/v1/events/dlq/replay"): {200, 400},
    ("POST", "/v1/events/{event_id}/void"): {202, 400},
    ("POST", "/v1/events/{event_id}/replace"): {202, 400},
    ("GET", "/v1/events/{event_id}"): {404},
    ("GET", "/v1/batches/{batch_id}"): {404},
}


@pytest.fixture(scope="module")
def served(hosted_settings: GatewaySettings, hosted: HostedGateway) -> Any:
    """The document as served, to a caller that its examples name."""
    with psycopg.connect(hosted_settings.database_url, autocommit=True) as connection:
        add_customer(connection, CUSTOMER, API_KEY)
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{hosted.port}/openapi.json")


def _made_own(body: Any) -> Any:
    """Let the events of a body be the caller's: with another customer's little is read of it."""
    events = body.get("events") if isinstance(body, dict) else body
    event = body.get("event") if isinstance(body, dict) else None
    for one in events if isinstance(events, list) else [body, event]:
        if isinstance(one, dict) and isinstance(one.get("customer_id"), str):
            one["customer_id"] = CUSTOMER
        if isinstance(one, dict) and isinstance(one.get("subject"), str):
            one["subject"] = CUSTOMER
    return body


def _examples(method: str, path: str) -> list[tuple[str, Any]]:
    """Return each body that the document shows for an operation, with its media type."""
    content = operations()[method, path].get("requestBody", {}).get("content", {})
    return [
        (media_type, example["value"])
        for media_type, shown in content.items()
        for example in shown["examples"].values()
    ]


@pytest.mark.parametrize(("method", "path"), sorted(operations()))
def test_the_gateway_keeps_to_its_document(served: Any, method: str, path: str) -> None:
    """Whatever a route is asked, the document knows the answer; no 5xx is without a cause."""
    operation = served[path][method]
    asked: set[int] = set()
    # First what the document shows: whether a drawn body is good enough for a 202 is luck, for what
    # is drawn depends on what else a test run has loaded, whatever the seed.
    for media_type, example in _examples(method, path):
        parameters = {"event_id": str(uuid.uuid4())} if "{event_id}" in path else {}
        case = operation.Case(body=example, media_type=media_type, path_parameters=parameters)
        response = case.call(headers=KEY)
        case.validate_response(response, checks=CHECKS[:-1])
        assert response.status_code in {200, 202}, (media_type, response.text)
        asked.add(response.status_code)
    cases = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if "requestBody" in operations()[method, path] or "{" in path:
        cases |= operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(cases, st.booleans())
    def ask(case: Any, as_own: bool) -> None:
        if as_own:
            case.body = _made_own(case.body)
        response = case.call(headers=KEY)
        # A bad request that lost its optional body on the way is a good one.
        is_bad = response.request.body is not None
        case.validate_response(response, checks=CHECKS if is_bad else CHECKS[:-1])
        asked.add(response.status_code)
        if response.status_code >= 500:
            assert response.status_code == 503
            assert json.loads(response.content)["cause"] in CAUSES_OF_503

    ask()
    assert asked >= REACHED.get((method, path), {200})


@pytest.mark.parametrize(("method", "path"), sorted(operations()))
def test_every_route_that_asks_for_a_key_wants_one(served: Any, method: str, path: str) -> None:
    """Without a key, and with one that is nobody's: 401 where the document says so."""
    operation = operations()[method, path]
    place = path.replace("{batch_id}", "0:1").replace("{event_id}", "0")
    case = served[path][method].Case(path_parameters={"batch_id": "0:1", "event_id": "0"})
    if "requestBody" in operation:
        case.body, case.media_type = {}, JSON
    for headers in ({}, {"x-api-key": "om_test_" + "e" * 48}):
        response = case.call(headers=headers)
        assert (response.status_code == 401) is bool(operation["security"]), place
        case.validate_response(response, checks=CHECKS[:-1])

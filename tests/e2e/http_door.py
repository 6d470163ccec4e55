"""Posts to the gateway as a caller's own code would."""

import json
from typing import Any
from urllib.request import Request, urlopen

from tests.system import System


def post(system: System, api_key: str, *events: dict[str, Any]) -> dict[str, Any]:
    """Post events of our own form, and return the answer. Raises HTTPError where it is refused."""
    return post_body(system, api_key, {"events": events}, "application/json")


def post_body(
    system: System, api_key: str, value: Any, content_type: str, **headers: str
) -> dict[str, Any]:
    """Post any JSON to the ingest route, and return the answer."""
    request = Request(  # noqa: S310 -- our own address
        f"{system.gateway_url}/v1/events/ingest",
        json.dumps(value).encode(),
        {"Content-Type": content_type, "x-api-key": api_key, **headers},
    )
    with urlopen(request, timeout=30) as answer:  # noqa: S310 -- our own address
        assert answer.status in {200, 202}
        body: dict[str, Any] = json.load(answer)
    return body

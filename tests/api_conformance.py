"""Answers of a gateway held against the API document that it serves."""

import re
from functools import cache
from typing import Any

import jsonschema

from gateway.api_document import JSON, api_document


@cache
def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the document's operations by (METHOD, path with its parameters)."""
    return {
        (method.upper(), path): operation
        for path, item in api_document()["paths"].items()
        for method, operation in item.items()
    }


def require_conformance(method: str, path: str, status: int, answer: object) -> None:
    """Assert that the document knows the operation, this status of it, and an answer like this."""
    # The plainest path first: /v1/events/dlq is no event.
    for (named, pattern), operation in sorted(
        operations().items(), key=lambda one: "{" in one[0][1]
    ):
        if named == method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path):
            assert str(status) in operation["responses"], (method, path, status, answer)
            content = operation["responses"][str(status)]["content"][JSON]
            require_valid(answer, content["schema"])
            return
    raise AssertionError(f"the document does not know {method} {path}")


def require_valid(value: object, schema: dict[str, Any]) -> None:
    """Assert that a value is valid by a schema of the document."""
    components = {"components": api_document()["components"]}
    jsonschema.Draft202012Validator(schema | components).validate(value)

"""Types as the JSON Schemas of a document, OpenAPI or AsyncAPI, in `#/components/schemas`."""

from typing import Any, Literal

from pydantic import TypeAdapter

_PLACE = "#/components/schemas/"


def schemas_of(*kinds: Any) -> dict[str, Any]:
    """Return the schemas of types and of all that they hold, by name."""
    adapters: list[tuple[str, Literal["validation"], TypeAdapter[Any]]] = [
        (kind.__name__, "validation", TypeAdapter(kind)) for kind in kinds
    ]
    _, made = TypeAdapter.json_schemas(adapters, ref_template=_PLACE + "{model}")
    found: dict[str, Any] = made["$defs"]
    return found


def ref(name: str) -> dict[str, str]:
    """Return what stands for the schema of a name."""
    return {"$ref": _PLACE + name}

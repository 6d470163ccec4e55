"""The AsyncAPI document of the Kafka door: up to date, and of what is read."""

import json
from typing import Any

import jsonschema
import pytest

from deploy.local.servers import REPOSITORY
from schemas.async_api import async_api_document, async_api_text
from schemas.topics import RAW
from tests.unit.gateway.fakes import EVENT
from tests.unit.schemas.test_cloud_events import CLOUD_EVENT, binary
from tests.unit.schemas.test_corrections import VOID

DOCUMENT = async_api_document()


def test_the_kept_document_is_what_the_types_say() -> None:
    """docs/asyncapi.json; made anew by `python -m schemas.async_api > docs/asyncapi.json`."""
    assert (REPOSITORY / "docs" / "asyncapi.json").read_text() == async_api_text()


def test_the_topic_is_as_it_is_made() -> None:
    """Its binding is the configuration that `burnstream topics` gives it."""
    binding = DOCUMENT["channels"]["usageRaw"]["bindings"]["kafka"]
    made = {name: str(value) for name, value in binding["topicConfiguration"].items()}
    made["cleanup.policy"] = binding["topicConfiguration"]["cleanup.policy"][0]
    assert made.items() <= RAW.config.items()


def _validate(value: object, schema: dict[str, Any]) -> None:
    whole = schema | {"components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


@pytest.mark.parametrize(
    ("message", "headers", "payload"),
    [
        ("usageEvent", {}, EVENT),
        ("usageEvent", {"format": "1"}, EVENT),
        ("usageEvents", {}, {"events": [EVENT]}),
        ("cloudEvent", {"content-type": "application/cloudevents+json"}, CLOUD_EVENT),
        ("cloudEventBinary", binary("ce_"), CLOUD_EVENT["data"]),
        ("correction", {"format": "2"}, {"void": VOID}),
        ("correction", {"format": "2"}, {"void": VOID, "event": EVENT}),
    ],
)
def test_every_kind_of_record_has_its_message(
    message: str, headers: dict[str, str], payload: Any
) -> None:
    """A record as we read it is valid by its message, headers and value; a replay is nobody's."""
    found = DOCUMENT["components"]["messages"][message]
    _validate(headers, found["headers"])
    _validate(payload, found["payload"])
    with pytest.raises(jsonschema.ValidationError):
        _validate(headers | {"replay-of": "0:0:0:0"}, found["headers"])
    with pytest.raises(jsonschema.ValidationError):
        _validate([json.dumps(payload)], found["payload"])


def test_a_correction_says_that_it_is_one() -> None:
    """Without its header the record would be a dead letter; usual records do not bear it."""
    messages = DOCUMENT["components"]["messages"]
    for message, headers in (("correction", {}), ("usageEvent", {"format": "2"})):
        with pytest.raises(jsonschema.ValidationError):
            _validate(headers, messages[message]["headers"])

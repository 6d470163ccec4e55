"""The AsyncAPI document by the schema of AsyncAPI itself."""

import json

import jsonschema
import pytest

from schemas.async_api import async_api_document
from tests.node_packages import node_modules


def test_the_document_is_asyncapi() -> None:
    """It is valid by the schema of AsyncAPI 3.0.0; one without its channels is not."""
    folder = node_modules("@asyncapi/specs") / "@asyncapi" / "specs" / "schemas"
    schema = json.loads((folder / "3.0.0-without-$id.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    document = async_api_document()

    validator.validate(document)
    document["channels"]["usageRaw"]["address"] = 5
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(document)

"""The AsyncAPI 3 document of what a producer may write to Kafka, made of the types that validate.

`docs/asyncapi.json` is its text; `python -m schemas.async_api > docs/asyncapi.json` makes it anew.
"""

import sys
from typing import Any

import orjson

from schemas.cloud_events import STRUCTURED, CloudEvent
from schemas.corrections import CORRECTION_FORMAT, CorrectionRecord
from schemas.dead_letter import FORMAT_HEADER, REPLAY_OF_HEADER
from schemas.events import EventBatch, UsageEvent
from schemas.json_schemas import ref, schemas_of
from schemas.topics import PARTITIONS_DEFAULT, RAW

_JSON = "application/json"
_DESCRIPTION = """\
What a producer may write to Kafka, and what becomes of it: one topic. Whoever may write it is
trusted for every customer. Nothing is answered: ask GET /v1/batches/{partition}:{offset} of the
gateway. An installation may have a prefix before the topic's name (TOPIC_PREFIX). Other topics are
the pipeline's own: nobody else writes them."""
_KEY = {
    "type": "string",
    "description": "The customer_id in UTF-8, to the partition that the Java client's murmur2 "
    "gives. Without a key, or by another partitioner, every event is charged the same; "
    "duplicates then cost more to find.",
}
_TRACEPARENT = {"type": "string", "description": "W3C trace context, carried to the ledger"}
_OURS = {
    FORMAT_HEADER[0]: {"type": "string", "enum": [FORMAT_HEADER[1].decode()]},
    "traceparent": _TRACEPARENT,
}
_BINARY_REQUIRED = ("ce_specversion", "ce_id", "ce_source", "ce_type")


def async_api_document() -> dict[str, Any]:
    """Return the document as JSON values."""
    messages = _messages()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Burnstream: usage events on Kafka",
            "version": FORMAT_HEADER[1].decode(),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _JSON,
        "servers": {"kafka": {"host": "127.0.0.1:9092", "protocol": "kafka"}},
        "channels": {
            "usageRaw": {
                "address": RAW.name,
                "description": "Usage events and corrections as they came. Records bear the "
                "broker's time.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"kafka": _topic_binding()},
            }
        },
        "operations": {
            "takeUsageEvents": {
                "action": "receive",
                "channel": {"$ref": "#/channels/usageRaw"},
                "summary": "Each event becomes one charge, one duplicate or one dead letter; each "
                "correction one refund (and one charge), one duplicate or one dead letter.",
                "messages": [{"$ref": f"#/channels/usageRaw/messages/{name}"} for name in messages],
            }
        },
        "components": {
            "messages": messages,
            "schemas": schemas_of(UsageEvent, EventBatch, CloudEvent, CorrectionRecord),
        },
    }


def _topic_binding() -> dict[str, Any]:
    return {
        "topic": RAW.name,
        "partitions": PARTITIONS_DEFAULT,
        "topicConfiguration": {
            "cleanup.policy": [RAW.config["cleanup.policy"]],
            "retention.ms": int(RAW.config["retention.ms"]),
            "max.message.bytes": int(RAW.config["max.message.bytes"]),
        },
        "bindingVersion": "0.5.0",
    }


def _messages() -> dict[str, Any]:
    structured = {
        "content-type": {"type": "string", "pattern": f"^{STRUCTURED.replace('+', '[+]')}"}
    }
    binary: dict[str, Any] = {
        **{name: {"type": "string", "minLength": 1} for name in _BINARY_REQUIRED},
        "ce_subject": {"type": "string", "description": "the customer_id"},
        "ce_time": {"type": "string", "format": "date-time"},
        "content-type": {"type": "string", "description": "JSON, or absent"},
    }
    return {
        "usageEvent": _message("One usage event", ref("UsageEvent"), _OURS),
        "usageEvents": _message("Several usage events", ref("EventBatch"), _OURS),
        "cloudEvent": _message(
            "A CloudEvent, structured",
            ref("CloudEvent"),
            structured | {"traceparent": _TRACEPARENT},
            required=["content-type"],
            content_type=STRUCTURED,
        ),
        "cloudEventBinary": _message(
            "A CloudEvent, binary: attributes in headers, its data as the value",
            ref("CloudEvent/properties/data"),
            binary | {"traceparent": _TRACEPARENT},
            required=list(_BINARY_REQUIRED),
        ),
        "correction": _message(
            "A charged event is voided, or replaced by the event beside the void",
            ref("CorrectionRecord"),
            {
                "format": {"type": "string", "enum": [str(CORRECTION_FORMAT)]},
                "traceparent": _TRACEPARENT,
            },
            required=["format"],
        ),
    }


def _message(
    title: str,
    payload: dict[str, Any],
    headers: dict[str, Any],
    *,
    required: list[str] | None = None,
    content_type: str = _JSON,
) -> dict[str, Any]:
    # An operator's, who sends a dead letter again: it takes the event out of the first look.
    reserved = {"not": {"required": [REPLAY_OF_HEADER]}}
    return {
        "title": title,
        "contentType": content_type,
        "headers": {
            "type": "object",
            "properties": headers,
            **({"required": required} if required else {}),
            **reserved,
        },
        "payload": payload,
        "bindings": {"kafka": {"key": _KEY, "bindingVersion": "0.5.0"}},
    }


def async_api_text() -> str:
    """Return the document as the file that is kept."""
    return orjson.dumps(async_api_document(), option=orjson.OPT_INDENT_2).decode() + "\n"


if __name__ == "__main__":
    sys.stdout.write(async_api_text())

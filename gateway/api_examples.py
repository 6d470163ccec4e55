"""Examples of the API document, each of which a test sends or holds against its type."""

from typing import Any

_EVENT: dict[str, Any] = {
    "event_id": "550e8400-e29b-41d4-a716-446655440001",
    "customer_id": "cust-demo",
    "event_type": "TOKEN_USAGE",
    "feature_id": "chat",
    "timestamp": "2026-01-17T14:30:00Z",
    "provider": "OPENAI",
    "model": "gpt-4-turbo",
    "input_tokens": 1000,
    "output_tokens": 500,
    "metadata": {"session": "a1"},
}
BATCH: dict[str, Any] = {"events": [_EVENT]}
REASON: dict[str, Any] = {"reason": "billed to the wrong model", "requested_by": "alice"}
REPLACEMENT: dict[str, Any] = REASON | {
    "event": _EVENT | {"event_id": "550e8400-e29b-41d4-a716-446655440002", "model": "gpt-3.5-turbo"}
}
CLOUD_EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "order 4711, line 2",
    "source": "/shops/berlin",
    "type": "com.example.token_usage",
    "subject": "cust-demo",
    "time": "2026-01-17T15:30:00+01:00",
    "data": {
        "feature_id": "chat",
        "provider": "OPENAI",
        "model": "gpt-4-turbo",
        "input_tokens": 1000,
        "output_tokens": 500,
    },
}

_BATCH_ID = "batch_AAECAwQFBgcICQoLDA0ODw"
_VOIDING = {
    "event_id": _EVENT["event_id"],
    "batch_id": _BATCH_ID,
    "status": "processing",
    "processing_time_ms": 4,
}
_PLACE = {"partition": 1, "epoch": 0, "offset": 42, "index": 0}
_SERVICES = {"database": "connected", "queue": "connected"}
_NOW = "2026-01-17T14:30:00.000Z"

# By name of the type in `gateway.answers`.
ANSWERS: dict[str, Any] = {
    "Accepted": {
        "accepted": 1,
        "rejected": 0,
        "duplicates": 0,
        "batch_id": _BATCH_ID,
        "status": "processing",
        "processing_time_ms": 4,
    },
    "AllDuplicates": {
        "accepted": 0,
        "rejected": 0,
        "duplicates": 1,
        "batch_id": None,
        "status": "all_duplicates",
        "message": "All events were duplicates",
    },
    "Voiding": _VOIDING,
    "Replacing": _VOIDING | {"replaced_by": REPLACEMENT["event"]["event_id"]},
    "ValidationFailed": {
        "error": "VALIDATION_ERROR",
        "message": "Invalid event batch format",
        "details": {
            "_errors": [],
            "events": {
                "_errors": [],
                "0": {"_errors": [], "event_id": {"_errors": ["Invalid uuid"]}},
            },
        },
    },
    "Unavailable": {
        "error": "SERVICE_UNAVAILABLE",
        "message": "The database does not answer. Please try again later.",
        "cause": "database",
    },
    "Alive": {"status": "ok", "timestamp": _NOW},
    "Ready": {"status": "ready", "timestamp": _NOW, "services": _SERVICES},
    "NotReady": {
        "status": "not_ready",
        "timestamp": _NOW,
        "services": _SERVICES | {"queue": "disconnected"},
        "error": "Service dependencies unavailable",
    },
    "Queued": {"batch_id": _BATCH_ID, "events": 1, "status": "queued"},
    "Committed": {
        "batch_id": _BATCH_ID,
        "events": 1,
        "status": "committed",
        "outcomes": {"charged": 1, "duplicate": 0, "dead_letter": 0},
        "credits_burned": 15,
        "dead_letters": [],
    },
    "ChargedEvent": {
        "event_id": _EVENT["event_id"],
        "status": "charged",
        "credits": 15,
        "cost_usd": "0.015",
        "timestamp": "2026-01-17T14:30:00Z",
        "source": _PLACE,
        "transaction": None,
    },
    "DeadEvent": {
        "event_id": _EVENT["event_id"],
        "status": "dead_letter",
        "source": _PLACE,
        "dead_letter": {
            "id": "dl_1_0_42_0",
            "reason": "UNPRICED",
            "message": "no price in force",
            "status": "OPEN",
        },
    },
    "Replayed": {"message": "Jobs replayed successfully", "count": 1},
}

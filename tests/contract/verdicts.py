"""The table: what a field may hold. Both doors, the gateway and the streams, are held to it."""

from enum import Enum
from typing import Any


class Verdict(Enum):
    """What becomes of an event with that value."""

    TAKEN = "taken"
    REFUSED = "refused"


class _Absent(Enum):
    ABSENT = "absent"


ABSENT = _Absent.ABSENT
TAKEN, REFUSED = Verdict.TAKEN, Verdict.REFUSED

_WRONG_TYPES: list[Any] = [None, True, 1, 1.5, [], {}]
_TOKENS_MAX = 2**63 - 1


def _refused(field: str, *values: Any) -> list[tuple[str, Any, Verdict]]:
    return [(field, value, REFUSED) for value in values]


def _text(field: str, *, required: bool) -> list[tuple[str, Any, Verdict]]:
    return [
        (field, ABSENT, REFUSED if required else TAKEN),
        (field, "", TAKEN),
        (field, "x" * 512, TAKEN),
        (field, "x" * 513, REFUSED),
        (field, "Ünïcode 🚀", TAKEN),
        (field, "a\0b", REFUSED),
        *_refused(field, *_WRONG_TYPES),
    ]


def _count(field: str, *, zero: Verdict, largest: int) -> list[tuple[str, Any, Verdict]]:
    return [
        (field, ABSENT, TAKEN),
        (field, 0, zero),
        (field, 1, TAKEN),
        (field, 5.0, TAKEN),
        (field, largest, TAKEN),
        (field, largest + 1, REFUSED),
        (field, 10**30, REFUSED),
        (field, 1.5, REFUSED),
        (field, -1, REFUSED),
        *_refused(field, None, True, "5", [], {}),
    ]


def _amount(field: str) -> list[tuple[str, Any, Verdict]]:
    return [
        (field, ABSENT, TAKEN),
        (field, 1, TAKEN),
        (field, 0.25, TAKEN),
        (field, 10**15, TAKEN),
        (field, 10**15 + 1, REFUSED),
        (field, 0, REFUSED),
        (field, -0.5, REFUSED),
        *_refused(field, None, True, "5", [], {}),
    ]


VERDICTS: list[tuple[str, Any, Verdict]] = [
    ("event_id", ABSENT, REFUSED),
    ("event_id", "550e8400-e29b-41d4-a716-446655440001", TAKEN),
    ("event_id", "550E8400-E29B-41D4-A716-446655440001", TAKEN),
    ("event_id", "00000000-0000-0000-0000-000000000000", TAKEN),
    ("event_id", "not-a-uuid", REFUSED),
    ("event_id", "550e8400e29b41d4a716446655440001", REFUSED),
    ("event_id", "{550e8400-e29b-41d4-a716-446655440001}", REFUSED),
    ("event_id", "urn:uuid:550e8400-e29b-41d4-a716-446655440001", REFUSED),
    ("event_id", "550e8400-e29b-41d4-a716-446655440001\n", REFUSED),
    ("event_id", "550e8400-e29b-41d4-a716-44665544000\N{ARABIC-INDIC DIGIT ONE}", REFUSED),
    *_refused("event_id", *_WRONG_TYPES),
    ("customer_id", ABSENT, REFUSED),
    ("customer_id", "", REFUSED),
    ("customer_id", "x" * 513, REFUSED),
    ("customer_id", "a\0b", REFUSED),
    *_refused("customer_id", *_WRONG_TYPES),
    ("event_type", ABSENT, REFUSED),
    *(
        ("event_type", value, TAKEN)
        for value in (
            "TOKEN_USAGE",
            "API_CALL",
            "FEATURE_ACCESS",
            "IMAGE_GENERATION",
            "VIDEO_GENERATION",
            "CUSTOM",
        )
    ),
    ("event_type", "token_usage", REFUSED),
    ("event_type", "AUDIO_PROCESSING", REFUSED),
    ("event_type", "", REFUSED),
    *_refused("event_type", *_WRONG_TYPES),
    ("provider", ABSENT, TAKEN),
    *(
        ("provider", value, TAKEN)
        for value in (
            "OPENAI",
            "ANTHROPIC",
            "GOOGLE",
            "COHERE",
            "MISTRAL",
            "STABILITY_AI",
            "RUNWAY",
            "REPLICATE",
            "AMAZON",
            "BLACK_FOREST_LABS",
        )
    ),
    ("provider", "openai", REFUSED),
    ("provider", "", REFUSED),
    *_refused("provider", *_WRONG_TYPES),
    *_text("feature_id", required=True),
    *(
        row
        for field in (
            "user_id",
            "team_id",
            "model",
            "image_size",
            "quality",
            "resolution",
            "unit_type",
            "idempotency_key",
        )
        for row in _text(field, required=False)
    ),
    *_count("input_tokens", zero=TAKEN, largest=_TOKENS_MAX),
    *_count("output_tokens", zero=TAKEN, largest=_TOKENS_MAX),
    *_count("image_count", zero=REFUSED, largest=10**15),
    *_amount("duration_seconds"),
    *_amount("quantity"),
    ("timestamp", ABSENT, REFUSED),
    ("timestamp", "2025-01-17T14:30:00Z", TAKEN),
    ("timestamp", "2025-01-17T14:30Z", TAKEN),
    ("timestamp", "2025-01-17T14:30:00.1Z", TAKEN),
    ("timestamp", "2025-01-17T14:30:00.123456789Z", TAKEN),
    ("timestamp", f"2025-01-17T14:30:00.{'1' * 491}Z", TAKEN),
    ("timestamp", f"2025-01-17T14:30:00.{'1' * 492}Z", REFUSED),
    ("timestamp", "2024-02-29T00:00:00Z", TAKEN),
    ("timestamp", "2025-02-29T00:00:00Z", REFUSED),
    ("timestamp", "2025-13-01T00:00:00Z", REFUSED),
    ("timestamp", "2025-01-17T24:00:00Z", REFUSED),
    ("timestamp", "2025-01-17T14:30:60Z", REFUSED),
    ("timestamp", "2025-01-17T14:30:00", REFUSED),
    ("timestamp", "2025-01-17T14:30:00+00:00", REFUSED),
    ("timestamp", "2025-01-17T14:30:00z", REFUSED),
    ("timestamp", "2025-01-17 14:30:00Z", REFUSED),
    ("timestamp", "2025-01-17", REFUSED),
    ("timestamp", "2025-01-17T14:30:00.Z", REFUSED),
    ("timestamp", " 2025-01-17T14:30:00Z", REFUSED),
    ("timestamp", "0000-01-01T00:00:00Z", REFUSED),
    ("timestamp", "", REFUSED),
    *_refused("timestamp", *_WRONG_TYPES, 1737124200),
    ("metadata", ABSENT, TAKEN),
    ("metadata", {}, TAKEN),
    ("metadata", {"deep": [{"a": [1, 2.5, None, True, "x"]}]}, TAKEN),
    ("metadata", {"a": "x" * 65_528}, TAKEN),
    ("metadata", {"a": "x" * 65_529}, REFUSED),
    ("metadata", {"a": "b\0c"}, REFUSED),
    ("metadata", {"a\0": 1}, REFUSED),
    ("metadata", {"a": 2**64}, REFUSED),
    *_refused("metadata", None, True, 1, "x", []),
    ("provider_response", ABSENT, TAKEN),
    ("provider_response", {}, TAKEN),
    ("provider_response", {"usage": {"prompt_tokens": 5}}, TAKEN),
    ("provider_response", {"usage": "unreadable"}, TAKEN),
    *_refused("provider_response", None, True, 1, "x", []),
    ("unknown_key", {"anything": [1]}, TAKEN),
    ("unknown_key", None, TAKEN),
]

# Bodies (and records) as a whole: (name, bytes, verdict). {event} is a valid event.
WHOLE: list[tuple[str, bytes, Verdict]] = [
    ("a batch of one", b'{"events":[{event}]}', TAKEN),
    ("spaces everywhere", b' \n{ "events" : [ {event} ] }\t', TAKEN),
    ("unknown keys", b'{"x":{"events":1},"events":[{event}],"y":null}', TAKEN),
    ("the last of two keys counts", b'{"events":5,"events":[{event}]}', TAKEN),
    ("an escaped key", b'{"\\u0065vents":[{event}]}', TAKEN),
    ("empty", b"", REFUSED),
    ("not JSON", b"hello", REFUSED),
    ("cut off", b'{"events":[{event}', REFUSED),
    ("more than one value", b'{"events":[{event}]} {}', REFUSED),
    ("trailing comma", b'{"events":[{event},]}', REFUSED),
    ("not UTF-8", b'{"events":[{event}],"x":"\xff"}', REFUSED),
    ("UTF-16", '{"events":[]}'.encode("utf-16"), REFUSED),
    ("byte order mark", b'\xef\xbb\xbf{"events":[{event}]}', REFUSED),
    ("NUL", b"\0", REFUSED),
    ("raw NUL in a text", b'{"events":[{event}],"x":"\0"}', REFUSED),
    ("lone surrogate", b'{"events":[{event}],"x":"\\ud800"}', REFUSED),
    ("NaN", b'{"events":[{event}],"x":NaN}', REFUSED),
    ("Infinity", b'{"events":[{event}],"x":-Infinity}', REFUSED),
    ("huge integer", b'{"events":[{event}],"x":' + b"9" * 5_000 + b"}", REFUSED),
    ("too deep", b'{"events":[{event}],"x":' + b"[" * 100_000 + b"}", REFUSED),
    ("null", b"null", REFUSED),
    ("a number", b"1", REFUSED),
    ("a text", b'"events"', REFUSED),
    ("an array", b"[{event}]", REFUSED),
    ("an empty object", b"{}", REFUSED),
    ("events is null", b'{"events":null}', REFUSED),
    ("events is an object", b'{"events":{event}}', REFUSED),
    ("an event is null", b'{"events":[null]}', REFUSED),
    ("an event is a list", b'{"events":[[]]}', REFUSED),
    ("a thousand events", b'{"events":[' + b",".join([b"{event}"] * 1_000) + b"]}", TAKEN),
    ("one event too many", b'{"events":[' + b",".join([b"{event}"] * 1_001) + b"]}", REFUSED),
]

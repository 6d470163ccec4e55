"""Token counts read from a model provider's own response, where the event gives none.

The response itself goes no further than this: it may hold prompts and completions.
"""

from collections.abc import Mapping
from typing import Any

# provider -> (object that holds the counts, input count, output count)
_COUNTS_OF_PROVIDER = {
    "OPENAI": ("usage", "prompt_tokens", "completion_tokens"),
    "ANTHROPIC": ("usage", "input_tokens", "output_tokens"),
    "GOOGLE": ("usageMetadata", "promptTokenCount", "candidatesTokenCount"),
}

TOKENS_MAX = 2**63 - 1
# Identities and names are indexed by Postgres, whose index entries end at 2,704 bytes.
TEXT_LENGTH_MAX = 512


def _metadata(provider: str, response: Mapping[str, Any]) -> dict[str, Any]:
    if provider == "GOOGLE":
        found = {"modelVersion": response.get("modelVersion")}
    elif provider == "ANTHROPIC":
        usage = response["usage"]
        found = {
            "model": response.get("model"),
            "cache_creation_input_tokens": usage.get("cache_creation_input_tokens", 0),
            "cache_read_input_tokens": usage.get("cache_read_input_tokens", 0),
        }
    else:
        found = {
            "model": response.get("model"),
            "system_fingerprint": response.get("system_fingerprint"),
        }
    kept = {key: value for key, value in found.items() if _is_small(value)}
    return kept | {"parsed_from_response": True}


def _is_small(value: object) -> bool:
    """Return whether a value may join the metadata, which were checked before it came."""
    if isinstance(value, str):
        return len(value) <= TEXT_LENGTH_MAX and "\0" not in value
    return isinstance(value, int) and abs(value) <= TOKENS_MAX


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= TOKENS_MAX:
        return None
    return value


def take_provider_response(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event without its `provider_response`, with the counts that the response gives.

    Counts that the event states itself win. A response that cannot be read leaves the event as it
    is: it is the producer's convenience, not a reason to refuse the event.
    """
    response = event.get("provider_response")
    if response is None:
        return event
    rest = {key: value for key, value in event.items() if key != "provider_response"}
    provider = str(rest.get("provider", ""))
    where = _COUNTS_OF_PROVIDER.get(provider)
    if where is None:
        return rest
    counts_name, input_name, output_name = where
    counts = response.get(counts_name)
    if not isinstance(counts, Mapping):
        return rest
    # An answer without a completion carries no output count (an embedding, for one): 0 then.
    rest.setdefault("input_tokens", _count(counts.get(input_name)) or 0)
    rest.setdefault("output_tokens", _count(counts.get(output_name)) or 0)
    rest["metadata"] = {**rest.get("metadata", {}), **_metadata(provider, response)}
    return rest

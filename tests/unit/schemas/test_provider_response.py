"""Token counts from a provider's response: filled where absent; it goes no further."""

from typing import Any

import pytest

from schemas.provider_response import take_provider_response


@pytest.mark.parametrize(
    ("provider", "response", "counts"),
    [
        pytest.param(
            "OPENAI", {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}, (7, 3), id="openai"
        ),
        pytest.param(
            "ANTHROPIC", {"usage": {"input_tokens": 7, "output_tokens": 3}}, (7, 3), id="anthropic"
        ),
        pytest.param(
            "GOOGLE",
            {"usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 3}},
            (7, 3),
            id="google",
        ),
        pytest.param("OPENAI", {"usage": {"prompt_tokens": 7}}, (7, 0), id="no-completion"),
        pytest.param("OPENAI", {"usage": {"prompt_tokens": "7"}}, (0, 0), id="count-is-text"),
        pytest.param("OPENAI", {"usage": {"prompt_tokens": True}}, (0, 0), id="count-is-boolean"),
        pytest.param("OPENAI", {"usage": {"prompt_tokens": -7}}, (0, 0), id="count-is-negative"),
    ],
)
def test_counts_are_filled_in(
    provider: str, response: dict[str, Any], counts: tuple[int, int]
) -> None:
    """Each provider's own names are read; what is no count reads as 0."""
    event = take_provider_response({"provider": provider, "provider_response": response})

    assert (event["input_tokens"], event["output_tokens"]) == counts
    assert event["metadata"]["parsed_from_response"] is True
    assert "provider_response" not in event


def test_counts_of_the_event_win() -> None:
    """What the producer states itself is not overwritten."""
    response = {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}

    event = take_provider_response(
        {"provider": "OPENAI", "input_tokens": 1, "provider_response": response}
    )

    assert (event["input_tokens"], event["output_tokens"]) == (1, 3)


@pytest.mark.parametrize(
    "event",
    [
        pytest.param({"provider_response": {"usage": {"prompt_tokens": 7}}}, id="no-provider"),
        pytest.param({"provider": "COHERE", "provider_response": {"x": 1}}, id="other-provider"),
        pytest.param({"provider": "OPENAI", "provider_response": {"usage": 5}}, id="unreadable"),
    ],
)
def test_unreadable_response_is_only_removed(event: dict[str, Any]) -> None:
    """The event stays as it is, less the response, which may hold prompts."""
    expected = {key: value for key, value in event.items() if key != "provider_response"}

    assert take_provider_response(event) == expected


def test_metadata_of_the_response_is_kept_beside_the_events_own() -> None:
    """Model and cache counts are kept; texts of the conversation are not."""
    response = {
        "model": "claude-3-sonnet-20240229",
        "content": [{"text": "secret"}],
        "usage": {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 5},
    }

    event = take_provider_response(
        {"provider": "ANTHROPIC", "metadata": {"own": 1}, "provider_response": response}
    )

    assert event["metadata"] == {
        "own": 1,
        "model": "claude-3-sonnet-20240229",
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 5,
        "parsed_from_response": True,
    }

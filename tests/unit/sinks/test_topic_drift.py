"""How existing topics are compared with what the pipeline needs."""

from dataclasses import replace

from schemas.topics import TOPIC_SPECS, Topics
from sinks.topic_admin import TopicState, find_drift

TOPICS = Topics("p-")
AS_MADE = {
    TOPICS.prefix + spec.name: TopicState(4 if spec.is_partitioned else 1, spec.config)
    for spec in TOPIC_SPECS
}


def with_config(name: str, **values: str) -> dict[str, TopicState]:
    keys = {key.replace("_", "."): value for key, value in values.items()}
    state = AS_MADE[name]
    return AS_MADE | {name: replace(state, config=dict(state.config) | keys)}


def test_what_topics_makes_is_no_drift() -> None:
    """The specification fits itself, whole or in part, up to the longest window."""
    assert find_drift(TOPICS, AS_MADE, 4, 24) == []
    assert find_drift(TOPICS, {}, 4, 24) == []
    assert find_drift(TOPICS, {TOPICS.raw: AS_MADE[TOPICS.raw]}, 4, 24 * 7 - 1) == []


def test_more_than_needed_is_no_drift() -> None:
    """An operator may keep records longer and take larger ones."""
    assert find_drift(TOPICS, with_config(TOPICS.rated, retention_ms="-1"), 4, 24) == []
    larger = with_config(TOPICS.rated, max_message_bytes="99999999")
    assert find_drift(TOPICS, larger, 4, 24) == []


def test_each_difference_is_named() -> None:
    """Each line names the topic, what it has and what is expected."""
    found = find_drift(TOPICS, AS_MADE, 6, 24)
    assert found == [
        f"p-{name} has 4 partitions, expected 6"
        for name in ("usage.rated", "usage.burns", "usage.raw")
    ]
    (line,) = find_drift(TOPICS, with_config(TOPICS.raw, retention_ms="-1"), 4, 24)
    assert (
        line
        == "p-usage.rated: retention.ms is 691200000, expected at least that of p-usage.raw (inf)"
    )
    (line,) = find_drift(TOPICS, with_config(TOPICS.rated, max_message_bytes="1000"), 4, 24)
    assert line.startswith("p-usage.rated: max.message.bytes is 1000, expected at least 4 times")


def test_retention_must_exceed_the_window() -> None:
    """What is deleted inside the dedupe window could not be folded again."""
    found = find_drift(TOPICS, AS_MADE, 4, 24 * 7)
    assert len(found) == 1
    assert "p-usage.raw: retention.ms is 604800000" in found[0]

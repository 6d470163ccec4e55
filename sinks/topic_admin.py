"""`burnstream topics`: makes the topics in an order that loses nothing, and refuses on drift.

Partitions are added by `sinks.scale`; here is said when that was begun and not finished.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from deploy.runtime.kafka import client_options
from deploy.runtime.settings import RuntimeSettings
from schemas.topics import PARTITIONS_DEFAULT, RATED, RAW, TOPIC_SPECS, Topics, TopicSpec

HOUR_MS = 3600 * 1000
REPLICAS_MAX = 3
RATED_TO_RAW_BYTES = 4
READY_TIMEOUT_SECONDS = 30.0
POLL_INTERVAL_SECONDS = 0.1
# What must be as the specification says; limits and retention are compared with each other.
EXACT_KEYS = ("cleanup.policy", "message.timestamp.type")
ALTER_REMEDY = (
    "a setting is put back by Kafka's own `kafka-configs --alter --entity-type topics "
    "--entity-name TOPIC --add-config NAME=VALUE`"
)


class TopicDriftError(Exception):
    """Topics are not as the pipeline needs them; `differences` names each."""

    def __init__(self, differences: list[str]) -> None:
        super().__init__("; ".join(differences))
        self.differences = differences


@dataclass(frozen=True)
class TopicState:
    """A topic as the broker has it."""

    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True)
class TopicsReport:
    """What `ensure_topics` found and did."""

    partitions: int
    created: list[str]
    warnings: list[str]


def find_drift(
    topics: Topics,
    states: Mapping[str, TopicState],
    partitions: int,
    dedupe_window_hours: int,
) -> list[str]:
    """Name every difference between the topics that exist and what the pipeline needs."""
    found = []
    for spec in TOPIC_SPECS:
        name = topics.prefix + spec.name
        if name in states:
            found += _drift_of_topic(name, spec, states[name], partitions)
    for name in (topics.raw, topics.rated):
        if name in states:
            found += _drift_of_window(name, states[name], dedupe_window_hours)
    if topics.raw in states and topics.rated in states:
        found += _drift_between(topics, states[topics.raw], states[topics.rated])
    return found


def _drift_of_topic(name: str, spec: TopicSpec, state: TopicState, partitions: int) -> list[str]:
    wanted = partitions if spec.is_partitioned else 1
    found = []
    if state.partitions != wanted:
        found.append(f"{name} has {state.partitions} partitions, expected {wanted}")
    found += [
        f"{name}: {key} is {state.config.get(key)}, expected {spec.config[key]}"
        for key in EXACT_KEYS
        if key in spec.config and state.config.get(key) != spec.config[key]
    ]
    return found


def _drift_of_window(name: str, state: TopicState, dedupe_window_hours: int) -> list[str]:
    """What is deleted inside the window could neither be deduplicated nor folded again."""
    retention = _retention(state)
    if retention > dedupe_window_hours * HOUR_MS:
        return []
    window = f"the dedupe window of {dedupe_window_hours} hours ({dedupe_window_hours * HOUR_MS})"
    return [f"{name}: retention.ms is {retention:.0f}, expected more than {window}"]


def _drift_between(topics: Topics, raw: TopicState, rated: TopicState) -> list[str]:
    found = []
    if _retention(rated) < _retention(raw):
        found.append(
            f"{topics.rated}: retention.ms is {_retention(rated):.0f}, expected at least that of "
            f"{topics.raw} ({_retention(raw):.0f})"
        )
    raw_bytes = int(raw.config["max.message.bytes"])
    rated_bytes = int(rated.config["max.message.bytes"])
    if rated_bytes < RATED_TO_RAW_BYTES * raw_bytes:
        found.append(
            f"{topics.rated}: max.message.bytes is {rated_bytes}, expected at least "
            f"{RATED_TO_RAW_BYTES} times that of {topics.raw} ({raw_bytes})"
        )
    return found


def _retention(state: TopicState) -> float:
    """Milliseconds; -1 is Kafka's word for ever."""
    value = int(state.config["retention.ms"])
    return float("inf") if value < 0 else float(value)


def find_remedy(
    topics: Topics, states: Mapping[str, TopicState], partitions: int, positions: Mapping[int, int]
) -> list[str]:
    """Say how to go on where only some of what goes together has this many partitions, or none.

    `positions`: what the ledger has applied, by partition of `usage.raw`.
    """
    if topics.raw not in states:
        return []
    sizes = {states[name].partitions for name in partitioned(topics) if name in states}
    most = max(*sizes, 1 + max(positions, default=-1))
    if sizes != {most}:
        return [f"a scale was not finished: run `burnstream scale --partitions {most}`"]
    if partitions > most:
        return [f"partitions are added by `burnstream scale --partitions {partitions}`"]
    return []


def partitioned(topics: Topics) -> list[str]:
    """Names of the topics that have equally many partitions, in the order in which they grow."""
    return [topics.prefix + spec.name for spec in TOPIC_SPECS if spec.is_partitioned]


async def ensure_topics(
    settings: RuntimeSettings,
    connection: psycopg.Connection[Any],
    partitions: int | None = None,
) -> TopicsReport:
    """Make what is missing; the same again changes nothing.

    `partitions` None: as many as there are, in Kafka or else in the ledger, or the default. What is
    written to exists before what is read from, and `SinkOffset` rows before the first raw record:
    no sink ever guesses where to begin.

    Raises:
        TopicDriftError: what exists differs; nothing was made.
        aiokafka.errors.KafkaError, psycopg.OperationalError: unreachable.
    """
    topics = settings.topics
    async with admin_client(settings) as admin:
        states = await describe(admin, topics)
        positions = read_positions(connection, topics.raw)
        existing = _existing_partitions(topics, states) or len(positions)
        count = partitions or existing or PARTITIONS_DEFAULT
        _refuse_drift(topics, states, count, settings, positions)
        warnings = _ledger_warnings(topics, states, positions)
        missing = [spec for spec in TOPIC_SPECS if topics.prefix + spec.name not in states]
        before_raw = [spec for spec in missing if spec is not RAW]
        await _create(admin, topics, before_raw, count)
        create_positions(connection, topics.raw, count)
        await _create(admin, topics, [spec for spec in missing if spec is RAW], count)
        states = await _wait_for_all(admin, topics)
        # A broker's own policy may have changed what was asked for.
        _refuse_drift(topics, states, count, settings, positions)
    return TopicsReport(count, [topics.prefix + spec.name for spec in missing], warnings)


def find_differences(
    settings: RuntimeSettings, states: Mapping[str, TopicState], positions: Mapping[int, int]
) -> list[str]:
    """Name whatever of the topics is missing or differs, and the remedy; changes nothing."""
    topics = settings.topics
    missing = [topics.prefix + s.name for s in TOPIC_SPECS if topics.prefix + s.name not in states]
    if missing:
        return [f"missing: {', '.join(missing)}: run `burnstream topics`"]
    count = _existing_partitions(topics, states) or len(positions)
    return _differences(topics, states, count, settings, positions)


def _refuse_drift(
    topics: Topics,
    states: Mapping[str, TopicState],
    partitions: int,
    settings: RuntimeSettings,
    positions: Mapping[int, int],
) -> None:
    differences = _differences(topics, states, partitions, settings, positions)
    if differences:
        raise TopicDriftError(differences)


def _differences(
    topics: Topics,
    states: Mapping[str, TopicState],
    partitions: int,
    settings: RuntimeSettings,
    positions: Mapping[int, int],
) -> list[str]:
    differences = find_drift(topics, states, partitions, settings.dedupe_window_hours)
    if any(": " in one for one in differences):
        differences.append(ALTER_REMEDY)
    beyond = [partition for partition in positions if partition >= partitions]
    if beyond:
        differences.append(
            f"SinkOffset holds partitions {beyond} of {topics.raw}, which has {partitions}"
        )
    return differences and differences + find_remedy(topics, states, partitions, positions)


def _existing_partitions(topics: Topics, states: Mapping[str, TopicState]) -> int | None:
    for spec in (RAW, RATED):
        state = states.get(topics.prefix + spec.name)
        if state is not None:
            return state.partitions
    return None


def _ledger_warnings(
    topics: Topics, states: Mapping[str, TopicState], positions: Mapping[int, int]
) -> list[str]:
    """Compare what the ledger has applied with a topic that is not there."""
    if topics.raw in states:
        return []
    return [
        f"{topics.raw} is made anew, but the ledger has applied partition {partition} up to offset "
        f"{next_offset}; decide with `burnstream repair new-epoch {partition}`"
        for partition, next_offset in positions.items()
        if next_offset > 0
    ]


def read_positions(connection: psycopg.Connection[Any], raw_topic: str) -> dict[int, int]:
    """Return up to which offset the ledger has applied each partition that it knows of."""
    return dict(
        connection.execute(
            'SELECT partition, next_offset FROM "SinkOffset" WHERE topic = %s ORDER BY partition',
            [raw_topic],
        ).fetchall()
    )


def create_positions(connection: psycopg.Connection[Any], raw_topic: str, partitions: int) -> int:
    """Let the ledger begin each partition that it does not know at 0; return how many."""
    with connection.transaction():
        return connection.execute(
            'INSERT INTO "SinkOffset" (topic, partition, next_offset) '
            "SELECT %s, generate_series(0, %s - 1), 0 ON CONFLICT DO NOTHING",
            [raw_topic, partitions],
        ).rowcount


@asynccontextmanager
async def admin_client(settings: RuntimeSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client."""
    admin = AIOKafkaAdminClient(**client_options(settings, "admin"))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def describe(admin: AIOKafkaAdminClient, topics: Topics) -> dict[str, TopicState]:
    """State of those of our topics that exist, by name."""
    ours = {topics.prefix + spec.name for spec in TOPIC_SPECS}
    # All topics are asked for: asking by name makes some brokers create the topic.
    partitions = {
        topic["topic"]: len(topic["partitions"])
        for topic in await admin.describe_topics()
        if topic["topic"] in ours and topic["error_code"] == 0
    }
    if not partitions:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in partitions]
    states = {}
    for response in await admin.describe_configs(resources):
        for error_code, message, _type, name, entries in response.resources:
            if error_code:
                raise for_code(error_code)(message)
            config = {entry[0]: entry[1] for entry in entries}
            states[name] = TopicState(partitions[name], config)
    return states


async def _create(
    admin: AIOKafkaAdminClient, topics: Topics, specs: list[TopicSpec], partitions: int
) -> None:
    if not specs:
        return
    cluster = await admin.describe_cluster()
    replicas = min(REPLICAS_MAX, len(cluster["brokers"]))
    response = await admin.create_topics(
        [
            NewTopic(
                topics.prefix + spec.name,
                partitions if spec.is_partitioned else 1,
                replicas,
                topic_configs=spec.config,
            )
            for spec in specs
        ]
    )
    for name, error_code, *rest in response.topic_errors:
        # Another `burnstream topics` was quicker; the check at the end compares what it made.
        if error_code and for_code(error_code) is not TopicAlreadyExistsError:
            raise for_code(error_code)(f"{name}: {rest[0] if rest else 'not created'}")


async def _wait_for_all(admin: AIOKafkaAdminClient, topics: Topics) -> dict[str, TopicState]:
    """Brokers hear of new topics a moment after their creation."""
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while True:
        states = await describe(admin, topics)
        missing = [s.name for s in TOPIC_SPECS if topics.prefix + s.name not in states]
        if not missing:
            return states
        if time.monotonic() > deadline:
            raise TopicDriftError([f"created, but not seen by all brokers: {', '.join(missing)}"])
        await asyncio.sleep(POLL_INTERVAL_SECONDS)

"""`burnstream scale`: adds partitions under running workers, so that none of them has to stop.

    the ledger's positions -> usage.rated -> usage.burns -> usage.raw

Whoever meets a new partition finds behind it all that he needs. A sink that is given one of
`usage.rated` finds its position: without one it would end, and rightly, for nobody may guess where
to begin. A streams worker that is given one of `usage.raw` finds those that it writes to.
Producers, who begin it all, come last. No step undoes or repeats another, so a scale that was
killed is finished by running it again.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import InvalidPartitionsError

from deploy.runtime.settings import RuntimeSettings
from schemas.topics import TOPIC_SPECS, Topics
from sinks.topic_admin import (
    POLL_INTERVAL_SECONDS,
    READY_TIMEOUT_SECONDS,
    TopicDriftError,
    TopicState,
    admin_client,
    create_positions,
    describe,
    find_drift,
    partitioned,
    read_positions,
)


class ScaleError(Exception):
    """The number of partitions asked for cannot be; the message says why."""


@dataclass(frozen=True)
class Growth:
    """A topic that got partitions: how many it had, and has."""

    topic: str
    before: int
    partitions: int


@dataclass(frozen=True)
class ScaleReport:
    """What `scale` did; `positions`: how many the ledger got."""

    partitions: int
    positions: int
    grown: list[Growth]


async def scale(
    settings: RuntimeSettings, connection: psycopg.Connection[Any], partitions: int
) -> ScaleReport:
    """Add partitions up to this number; the same again changes nothing.

    Raises:
        ScaleError: there are more already, or no topics yet; nothing was changed.
        TopicDriftError: the topics differ in other ways; nothing was changed.
        aiokafka.errors.KafkaError, psycopg.OperationalError: unreachable; run it again.
    """
    topics = settings.topics
    async with admin_client(settings) as admin:
        states = await describe(admin, topics)
        _refuse(topics, states, read_positions(connection, topics.raw), partitions)
        _refuse_drift(settings, states, partitions)
        positions = create_positions(connection, topics.raw, partitions)
        grown = [
            Growth(name, states[name].partitions, partitions)
            for name in partitioned(topics)
            if states[name].partitions < partitions
        ]
        for one in grown:
            await add_partitions(admin, one.topic, partitions)
            await _wait_for(admin, topics, one)
    return ScaleReport(partitions, positions, grown)


def _refuse(
    topics: Topics,
    states: Mapping[str, TopicState],
    positions: Mapping[int, int],
    partitions: int,
) -> None:
    missing = [spec.name for spec in TOPIC_SPECS if topics.prefix + spec.name not in states]
    if missing:
        raise ScaleError(
            f"{topics.prefix}{missing[0]} is not there: run `burnstream topics` first, which makes "
            "the topics with as many partitions as you like"
        )
    sizes = {name: states[name].partitions for name in partitioned(topics)}
    sizes["SinkOffset"] = 1 + max(positions, default=-1)
    name, most = max(sizes.items(), key=lambda item: item[1])
    if partitions < most:
        raise ScaleError(
            f"{name} has {most} partitions already, and none is taken away: Kafka cannot, and the "
            f"events in it would go with it; say {most} or more"
        )


def _refuse_drift(
    settings: RuntimeSettings, states: Mapping[str, TopicState], partitions: int
) -> None:
    """Refuse on drift of anything but the number of partitions."""
    topics = settings.topics
    as_grown = {
        name: replace(state, partitions=partitions) if name in partitioned(topics) else state
        for name, state in states.items()
    }
    differences = find_drift(topics, as_grown, partitions, settings.dedupe_window_hours)
    if differences:
        raise TopicDriftError(differences)


async def add_partitions(admin: AIOKafkaAdminClient, topic: str, partitions: int) -> None:
    """Let a topic have this many partitions. Tests put their crashes around this function."""
    # Another scale may have been quicker: the look that follows tells.
    with contextlib.suppress(InvalidPartitionsError):
        await admin.create_partitions({topic: NewPartitions(partitions)})


async def _wait_for(admin: AIOKafkaAdminClient, topics: Topics, growth: Growth) -> None:
    """Brokers hear of new partitions a moment after their creation."""
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while True:
        found = (await describe(admin, topics))[growth.topic].partitions
        if found >= growth.partitions:
            return
        if time.monotonic() > deadline:
            raise TopicDriftError(
                [f"{growth.topic} has {found} partitions still, asked for {growth.partitions}"]
            )
        await asyncio.sleep(POLL_INTERVAL_SECONDS)

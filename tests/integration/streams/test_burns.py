"""A former owner of a partition that writes its old burns over its successor's."""

import asyncio
from array import array
from typing import Any

import orjson

from schemas.rated import Fold, Kind, RatedBatch, encode_batch
from streams.producer import headers_of
from tests.integration.operations.kafka_records import create_topic, delete_and_wait
from tests.integration.streams.raw_topic import PARTITIONS, Pipeline
from tests.unit.streams.raw_records import event
from tests.waiting import wait_until_async


async def latest_of(pipeline: Pipeline) -> dict[bytes, Any]:
    """Return the latest record of each key of `usage.burns`, as any reader sees it."""
    return {record.key: record for record in await pipeline.records(pipeline.topics.burns)}


async def are_burned(pipeline: Pipeline, credits_: int) -> None:
    """Wait until the customer's only day and hour are these credits."""

    async def is_so() -> bool:
        burns = await latest_of(pipeline)
        found = [orjson.loads(record.value)["credits"] for record in burns.values()]
        return found == [credits_, credits_]

    await wait_until_async(is_so, 30, f"{credits_} credits are published as burned")


async def write_as_zombie(pipeline: Pipeline, stale: dict[bytes, Any]) -> None:
    """Write old burns once more."""
    for key, record in stale.items():
        await pipeline.write(
            record.value, key=key, headers=record.headers, topic=pipeline.topics.burns
        )


async def test_a_successor_does_not_believe_a_zombies_burns(
    pipeline: Pipeline, start_worker: Any
) -> None:
    """Of a key's records the next owner takes the newest by its rated offset, and writes it."""
    async with start_worker.running():
        await pipeline.write(event(0))
        await are_burned(pipeline, 15)
        stale = await latest_of(pipeline)
        for number in (1, 2):
            await pipeline.write(event(number))
            await are_burned(pipeline, 15 * (number + 1))
    await write_as_zombie(pipeline, stale)
    await are_burned(pipeline, 15)
    async with start_worker.running():
        await are_burned(pipeline, 45)
        await pipeline.write(event(3))
        await are_burned(pipeline, 60)


async def test_an_owner_mends_what_a_zombie_wrote_over(
    pipeline: Pipeline, start_worker: Any
) -> None:
    """The owner of a partition sees that somebody else wrote burns, and writes his own again."""
    async with start_worker.running():
        await pipeline.write(event(0))
        await are_burned(pipeline, 15)
        stale = await latest_of(pipeline)
        await pipeline.write(event(1))
        await are_burned(pipeline, 30)
        await write_as_zombie(pipeline, stale)
        await are_burned(pipeline, 30)


async def test_burns_hold_nothing_twice_when_the_rated_log_grew_again_behind_a_loss(
    pipeline: Pipeline, start_worker: Any
) -> None:
    """It is as long as it was when burns were counted from it, but not the same log."""
    async with start_worker.running():
        for number in range(3):
            await pipeline.write(event(number))
            await are_burned(pipeline, 15 * (number + 1))
    await asyncio.to_thread(delete_and_wait, pipeline.bootstrap, pipeline.topics.rated)
    await asyncio.to_thread(create_topic, pipeline.bootstrap, pipeline.topics.rated, PARTITIONS, {})
    # What a worker wrote that did not know of the loss yet: it starts ahead, nothing counts it.
    ahead = RatedBatch(0, 3, 4, 1, [(3, 0)], [], [])
    fold = Fold(Kind.RATED, 3, 4, [(3, 0)], array("i"), b"")
    for _ in range(3):
        await pipeline.write(
            encode_batch(ahead), headers=headers_of(ahead, fold), topic=pipeline.topics.rated
        )
    for number in (3, 4):  # and whoever comes next reads burns of two logs
        async with start_worker.running():
            await pipeline.write(event(number))
            await are_burned(pipeline, 15 * (number + 1))

"""What the guard and the fold are for, provoked in a worker of this process."""

from array import array
from typing import Any

import pytest

from deploy.runtime.run_consumer import RunConsumer
from schemas.identity import identities
from schemas.rated import Fold, Kind, RatedBatch, encode_batch, pack_position
from streams.agent import Part, StreamsAgent
from streams.producer import headers_of
from tests.integration.streams.raw_topic import Pipeline, numbers_of
from tests.rated_batches import charged
from tests.unit.streams.raw_records import event
from tests.waiting import wait_until_async


async def test_a_lost_fetch_is_read_again(
    pipeline: Pipeline, start_worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the fetch loop drops what it fetched, the guard goes back and nothing is lost."""
    hand_over = RunConsumer._hand_over
    dropped: list[int] = []

    async def lossy(self: Any, lane: Any, session: int, records: Any) -> None:
        if len(dropped) < 3 and len(records) > 1:
            dropped.append(len(records))
            records = records[-1:]
        await hand_over(self, lane, session, records)

    monkeypatch.setattr(RunConsumer, "_hand_over", lossy)
    end = (await pipeline.write(*(event(n) for n in range(300))))[-1] + 1
    worker = await start_worker()
    accepted = (await pipeline.rated_up_to({0: end}))[0]
    assert numbers_of(accepted.charged_ids()) == list(range(300))
    assert dropped
    assert worker.metric("jumps_total") >= 1


async def test_a_zombies_batch_is_folded_in(
    pipeline: Pipeline, start_worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker's batch shows by its offset; what it covered first counts, and is seen."""
    run_step = StreamsAgent.run_step
    written: list[int] = []

    async def overtaken(self: StreamsAgent, step: Any, part: Part) -> None:
        if step is StreamsAgent.send and not written:
            ((first_offset, broker_ms), *_) = part.broker_times
            times = [(first_offset, broker_ms)]
            own = identities("cust-1", event(7)["event_id"])
            batch = RatedBatch(0, 0, 1, 1, times, [charged(0, **event(7))])
            fold = Fold(Kind.RATED, 0, 1, times, array("q", [pack_position(0, 0)]), b"".join(own))
            written.extend(
                await pipeline.write(
                    encode_batch(batch),
                    headers=headers_of(batch, fold),
                    topic=pipeline.topics.rated,
                )
            )
        await run_step(self, step, part)

    monkeypatch.setattr(StreamsAgent, "run_step", overtaken)
    worker = await start_worker()
    await pipeline.write({"events": [event(1)]}, event(2))
    await pipeline.rated_up_to({0: 2})
    end = (await pipeline.write(event(2), event(1)))[-1] + 1
    accepted = (await pipeline.rated_up_to({0: end}))[0]
    # Event 1 at offset 0 was the zombie's to judge, so its repeat is a first.
    assert accepted.verdicts() == [
        (0, 0, "charged"),
        (1, 0, "charged"),
        (2, 0, (1, 0)),
        (3, 0, "charged"),
    ]
    assert worker.metric("folds_again_total") == 1


async def test_two_workers_share_and_pass_on_the_partitions(
    pipeline: Pipeline, start_worker: Any
) -> None:
    """With a second worker each has a partition; when it leaves, what it charged is remembered."""
    first = await start_worker()
    async with start_worker.running() as second:

        async def is_shared() -> bool:
            return len(first.worker.app.assigned()) == len(second.worker.app.assigned()) == 1

        await wait_until_async(is_shared, 20, "each worker has a partition")
        for partition in (0, 1):
            await pipeline.write(event(1), event(2), partition=partition)
        await pipeline.rated_up_to({0: 2, 1: 2})
    for partition in (0, 1):
        await pipeline.write(event(2), event(3), partition=partition)
    accepted = await pipeline.rated_up_to({0: 4, 1: 4})
    for partition in (0, 1):
        assert accepted[partition].verdicts() == [
            (0, 0, "charged"),
            (1, 0, "charged"),
            (2, 0, (1, 0)),
            (3, 0, "charged"),
        ]


async def test_seen_is_a_faust_table_over_rated_batches(
    pipeline: Pipeline, start_worker: Any
) -> None:
    """The table `seen` of the app has `usage.rated` as its changelog and finds what was charged."""
    worker = await start_worker()
    await pipeline.write(event(1))
    await pipeline.rated_up_to({0: 1})
    table = worker.worker.app.tables["seen"]
    identity = identities("cust-1", event(1)["event_id"])[0]

    async def is_remembered() -> bool:
        return identity in set(table.store)

    await wait_until_async(is_remembered, 10, "the identity is in the table")
    assert table.changelog_topic_name == pipeline.topics.rated
    assert table.store[identity] == pack_position(0, 0)

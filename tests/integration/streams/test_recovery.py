"""Real worker processes that are killed, moved and frozen: nothing is lost, nothing doubled."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from schemas.dead_letter import FORMAT_HEADER
from schemas.rated import Fold, Kind, RatedBatch
from streams.producer import headers_of
from tests.integration.streams.conftest import StartProcess, has_folded
from tests.integration.streams.raw_topic import (
    SESSION_TIMEOUT_SECONDS,
    Accepted,
    Pipeline,
    numbers_of,
)
from tests.system import REPOSITORY, Worker
from tests.unit.streams.raw_records import event
from tests.waiting import wait_until, wait_until_async

STEPS_BEFORE_AND_AFTER_THE_SEND = ("dedupe", "send", "remember")
EVENTS = 400
SMALL_BATCHES = {"BATCH_EVENTS_MAX": "7"}


async def ended(worker: Worker, seconds: float = 40) -> int | None:
    """Wait until a process has ended and return its exit code."""
    await asyncio.to_thread(
        wait_until, lambda: worker.pid is None, seconds, f"{worker.name} ends by itself"
    )
    return worker.exit_code


def require_each_once(accepted: Accepted, numbers: int) -> None:
    """Every event charged once, in order, its repeat a duplicate; batches without a hole."""
    assert numbers_of(accepted.charged_ids()) == list(range(numbers))
    repeats = [entry for entry in accepted.entries if entry["verdict"] == "duplicate"]
    assert len(repeats) == numbers // 4
    assert accepted.rule.ahead_count == 0


async def write_with_repeats(pipeline: Pipeline, numbers: int, partition: int = 0) -> int:
    """Write events 0 ... and every fourth of them again at the end; return the log's end."""
    await pipeline.write(*(event(n) for n in range(numbers)), partition=partition)
    again = [event(n) for n in range(0, numbers, 4)]
    return (await pipeline.write(*again, partition=partition))[-1] + 1


@pytest.mark.parametrize("step", STEPS_BEFORE_AND_AFTER_THE_SEND)
async def test_kill_at_a_step(pipeline: Pipeline, start_process: StartProcess, step: str) -> None:
    """Killed with -9 before or after the send, again and again, a worker goes on where it was."""
    end = await write_with_repeats(pipeline, EVENTS)
    for number in (4, 1, 12):
        failpoint = f"streams:{step}:before:{number}:kill"
        crashing = start_process(failpoint=failpoint, **SMALL_BATCHES)
        assert await ended(crashing) == -signal.SIGKILL, crashing.last_words()
    start_process(**SMALL_BATCHES)
    accepted = (await pipeline.rated_up_to({0: end}))[0]
    require_each_once(accepted, EVENTS)
    # The fold gave the position, so that nothing was rated twice either.
    assert sum(len(batch.events) for batch in accepted.batches) == len(accepted.entries)


async def test_partitions_move_between_two_workers(
    pipeline: Pipeline, start_process: StartProcess
) -> None:
    """A second worker comes, the first is killed, comes again, the second is asked to stop."""
    first = start_process(0)
    writing = True

    async def write() -> None:
        number = 0
        while writing or number < EVENTS:
            for partition in (0, 1):
                await pipeline.write(
                    event(number),
                    {"events": [event(number), event(number + 1)]},
                    partition=partition,
                )
            number += 2
            await asyncio.sleep(0.005)

    traffic = asyncio.create_task(write())
    await asyncio.to_thread(first.wait_until_started)
    second = start_process(1)
    await asyncio.to_thread(has_folded, second)
    first.kill()
    await asyncio.to_thread(has_folded, second, 2)
    first.start()
    await asyncio.to_thread(has_folded, first)
    assert await asyncio.to_thread(second.stop) == 0
    await asyncio.to_thread(has_folded, first, 2)
    writing = False
    await traffic
    raw = await pipeline.records(pipeline.topics.raw)
    ends = {p: max(r.offset for r in raw if r.partition == p) + 1 for p in (0, 1)}
    accepted = await pipeline.rated_up_to(ends)
    for partition in (0, 1):
        one = accepted[partition]
        charged = numbers_of(one.charged_ids())
        assert charged == list(range(len(charged)))
        assert len(one.entries) == 3 * ends[partition] // 2
        assert one.rule.ahead_count == 0


async def test_a_frozen_worker_ends_before_it_goes_on(
    pipeline: Pipeline, start_process: StartProcess
) -> None:
    """A process that slept longer than its session exits as stalled, and another goes on."""
    first = start_process(0)
    end = (await pipeline.write(event(1)))[-1] + 1
    await pipeline.rated_up_to({0: end})
    first.pause()
    frozen_at = time.monotonic()
    second = start_process(1)
    end = (await pipeline.write(event(1), event(2)))[-1] + 1
    accepted = (await pipeline.rated_up_to({0: end}))[0]

    async def has_slept_longer() -> bool:
        return time.monotonic() - frozen_at > SESSION_TIMEOUT_SECONDS

    # The session began with the last heartbeat, so before the sleep: it may be over sooner.
    await wait_until_async(has_slept_longer, 10, "the sleep is longer than the session")
    first.resume()
    assert await ended(first) == 71
    assert accepted.verdicts() == [(0, 0, "charged"), (1, 0, (0, 0)), (2, 0, "charged")]
    assert second.pid is not None


async def test_a_log_that_lost_its_beginning_stops_the_worker(
    pipeline: Pipeline, start_process: StartProcess
) -> None:
    """Records deleted before they were rated: refused, naming the repair; a hole lets it go on."""
    await pipeline.write(*(event(n) for n in range(2)))
    worker = start_process()
    await pipeline.rated_up_to({0: 2})
    worker.kill()
    await pipeline.write(*(event(n) for n in range(2, 10)))
    await delete_records(pipeline, 0, 5)
    worker.start()
    assert await ended(worker) == 72
    assert "burnstream repair accept-hole 0" in worker.log
    await write_decision(pipeline, Kind.HOLE, 2, 5)
    worker.start()
    accepted = (await pipeline.rated_up_to({0: 10}))[0]
    assert numbers_of(accepted.charged_ids()) == [0, 1, 5, 6, 7, 8, 9]


async def test_a_log_that_was_made_again_stops_the_worker(
    pipeline: Pipeline, start_process: StartProcess
) -> None:
    """A position beyond the log's end is refused; a new epoch begins anew, with nothing seen."""
    await write_decision(pipeline, Kind.HOLE, 0, 50)
    await pipeline.write(event(1))
    worker = start_process()
    assert await ended(worker) == 72
    assert "burnstream repair new-epoch 0" in worker.log
    await write_decision(pipeline, Kind.NEW_EPOCH, 0, 0)
    worker.start()
    accepted = (await pipeline.rated_up_to({0: 1}))[0]
    assert numbers_of(accepted.charged_ids()) == [1]


async def test_a_record_that_stops_the_workers_is_quarantined(
    pipeline: Pipeline, start_process: StartProcess, tmp_path: Path
) -> None:
    """A bug ends the process naming the record; set aside, it is a letter and the rest goes on.

    The next process tells of the death until the record is behind it.
    """
    await pipeline.write(event(0), event(1), event(2, feature_id="poison"), event(3))
    worker = start_process(module="tests.integration.streams.poisoned_worker")
    assert await ended(worker) == 70, worker.last_words()
    [last] = [r for r in worker.log_records if r.get("exit_code")]
    assert (last["partition"], last["offset"]) == (0, 2)
    command = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "deploy.cli", "quarantine", "0", "2", "--reason", "a bug", "--by", "ann"),
        cwd=tmp_path,
        env={**os.environ, **pipeline.environment(), "PYTHONPATH": str(REPOSITORY)},
    )
    assert await command.wait() == 0
    worker.start()

    async def tells_of_the_death() -> bool:
        return worker.metrics_port is not None and (
            'burnstream_streams_deaths_at_offset{offset="2",partition="0"} 1.0' in worker.metrics()
        )

    async def tells_no_more() -> bool:
        return not await tells_of_the_death()

    await wait_until_async(tells_of_the_death, 30, "the death shows")
    accepted = (await pipeline.rated_up_to({0: 4}))[0]
    assert accepted.verdicts() == [
        (0, 0, "charged"),
        (1, 0, "charged"),
        (2, 0, "QUARANTINED"),
        (3, 0, "charged"),
    ]
    await wait_until_async(tells_no_more, 30, "it is forgotten")


async def delete_records(pipeline: Pipeline, partition: int, before: int) -> None:
    """Delete a partition's records below an offset, as retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.bootstrap)
    await admin.start()
    tp = TopicPartition(pipeline.topics.raw, partition)
    await admin.delete_records({tp: RecordsToDelete(before_offset=before)})
    await admin.close()


async def write_decision(pipeline: Pipeline, kind: Kind, first: int, following: int) -> None:
    """Write an operator's decision to `usage.rated`."""
    from array import array

    from schemas.rated import encode_batch

    batch = RatedBatch(
        0, first, following, 0, [], [], kind=kind, reason="the disk was lost", decided_by="ann"
    )
    headers = headers_of(batch, Fold(kind, first, following, [], array("q"), b""))
    assert headers[0] == FORMAT_HEADER
    await pipeline.write(encode_batch(batch), headers=headers, topic=pipeline.topics.rated)

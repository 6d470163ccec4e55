"""`burnstream archive`: the topic in Parquet, and read back as if it were the topic."""

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from deploy.local.servers import REPOSITORY
from deploy.runtime.kafka import reader_options
from streams.archive.archived_log import ArchivedLog
from streams.archive.segments import ArchiveError, segments_of
from streams.archive.write import difference
from streams.log_reader import LogReader
from streams.settings import StreamsSettings
from tests.integration.streams.raw_topic import Pipeline
from tests.waiting import wait_until

pytestmark = pytest.mark.integration
SEAM, RECORDS = 30, 50
PAGE = (REPOSITORY / "docs" / "archive.md").read_text()
EXAMPLES = re.findall(r"```sh\nburnstream archive (.+?)\n```\n\n```text\n(.+?)```", PAGE, re.DOTALL)


def run(pipeline: Pipeline, *arguments: str, code: int = 0) -> Any:
    """Run the command to its end and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "archive", *arguments, "--json"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=environment(pipeline),
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else done.stderr


def environment(pipeline: Pipeline) -> dict[str, str]:
    return os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": pipeline.bootstrap,
        "TOPIC_PREFIX": pipeline.topics.prefix,
    }


async def archived(pipeline: Pipeline, folder: Path, *arguments: str, code: int = 0) -> Any:
    return await asyncio.to_thread(run, pipeline, "--to", str(folder), *arguments, code=code)


async def delete_before(pipeline: Pipeline, offset: int) -> None:
    """Let retention have passed."""
    admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.bootstrap)
    await admin.start()
    try:
        await admin.delete_records(
            {TopicPartition(pipeline.topics.raw, 0): RecordsToDelete(offset)}
        )
    finally:
        await admin.close()


async def write_odd(pipeline: Pipeline, first: int, following: int) -> None:
    """Records of every shape, one after the other, so that their times differ or not."""
    async with AIOKafkaProducer(bootstrap_servers=pipeline.bootstrap) as producer:
        for number in range(first, following):
            await producer.send_and_wait(
                pipeline.topics.raw,
                None if number % 7 == 3 else b"\x00\xff%d" % number,
                key=None if number % 7 == 2 else b"k%d" % number,
                headers=[("replay-of", b"0:1"), ("h", b"")] if number % 4 == 1 else [],
                partition=0,
            )


def log_reader(pipeline: Pipeline) -> LogReader:
    settings = StreamsSettings(kafka_bootstrap_servers=pipeline.bootstrap)
    return LogReader(reader_options(settings, "test"))


@asynccontextmanager
async def topic_alone(pipeline: Pipeline, _: Path) -> Any:
    await write_odd(pipeline, 0, RECORDS)
    reader = log_reader(pipeline)
    yield reader
    await reader.stop()


@asynccontextmanager
async def archive_and_topic(pipeline: Pipeline, folder: Path) -> Any:
    """Of the first records only the archive knows; some are in both, the last in the topic."""
    await write_odd(pipeline, 0, SEAM)
    await archived(pipeline, folder, "--records-per-file", "7")
    await write_odd(pipeline, SEAM, RECORDS)
    await delete_before(pipeline, SEAM - 5)
    log = ArchivedLog(folder, log_reader(pipeline))
    yield log
    await log.stop()


@pytest.mark.parametrize("opened", [topic_alone, archive_and_topic])
async def test_both_logs_answer_alike(pipeline: Pipeline, tmp_path: Path, opened: Any) -> None:
    """The contract of a log: bounds, stretches, single records, offsets by time."""
    topic = pipeline.topics.raw
    async with opened(pipeline, tmp_path) as log:
        assert await log.bounds(topic, 0) == (0, RECORDS)
        assert await log.ends(topic, [0]) == {0: RECORDS}

        async def stretch(start: int, end: int) -> list[Any]:
            return [one async for chunk in log.stretch(topic, 0, start, end) for one in chunk]

        records = await stretch(0, RECORDS)
        assert [one.offset for one in records] == list(range(RECORDS))
        for number, one in enumerate(records):
            assert one.value == (None if number % 7 == 3 else b"\x00\xff%d" % number)
            assert one.key == (None if number % 7 == 2 else b"k%d" % number)
            odd = (("replay-of", b"0:1"), ("h", b"")) if number % 4 == 1 else ()
            assert tuple(one.headers) == odd
            assert (one.topic, one.partition, one.timestamp_type) == (topic, 0, 1)
        for start, end in ((3, 3), (5, 6), (SEAM - 1, SEAM + 1), (12, SEAM), (SEAM, RECORDS)):
            found = await stretch(start, end)
            assert [one.offset for one in found] == list(range(start, end))
            assert all(map(lambda a, b: difference(a, b) is None, found, records[start:end]))
        for offset in (0, 6, 7, SEAM - 1, SEAM, RECORDS - 1):
            assert (await log.first_at(topic, 0, offset, 10.0)).offset == offset
        each = await log.first_of_each(topic, 0, [2, SEAM, RECORDS - 1], RECORDS - 1)
        assert [one.offset for one in each] == [2, SEAM]
        for number in (0, 11, SEAM - 1, SEAM, RECORDS - 1):
            ms = records[number].timestamp
            first = next(one.offset for one in records if one.timestamp >= ms)
            assert await log.offset_at(topic, 0, ms) == first
            later = next((one.offset for one in records if one.timestamp > ms), None)
            assert await log.first_later(topic, 0, ms) == later


async def test_an_archive_goes_on_and_is_verified(pipeline: Pipeline, tmp_path: Path) -> None:
    """Repeated it does nothing; a byte changed, a file gone are found."""
    await write_odd(pipeline, 0, 20)
    assert (await archived(pipeline, tmp_path, "--records-per-file", "8"))["files"] == 3
    assert (await archived(pipeline, tmp_path))["files"] == 0
    assert (await archived(pipeline, tmp_path, "--until", "2001-01-01"))["files"] == 0
    await write_odd(pipeline, 20, 30)
    assert (await archived(pipeline, tmp_path))["records"] == 10

    async def verified(*arguments: str, code: int = 0) -> Any:
        return await asyncio.to_thread(
            run, pipeline, "verify", str(tmp_path), *arguments, code=code
        )

    found = await verified()
    assert (found["records"], found["compared"], found["problems"]) == (30, 30, [])
    own = tmp_path / pipeline.topics.raw / "0"
    middle = own / "8-16.parquet"
    kept = middle.read_bytes()
    (own / "0-8.parquet").rename(own / "0-8.parquet.away")
    middle.rename(own / "8-16.parquet.away")
    (own / "0-8.parquet.away").rename(own / "0-8.parquet")
    assert "a hole between" in (await verified("--without-topic", code=1))["problems"][0]
    middle.write_bytes(kept[:200])
    assert "cannot be read" in (await verified("--without-topic", code=1))["problems"][0]
    middle.write_bytes((own / "0-8.parquet").read_bytes())
    assert "it was renamed" in (await verified("--without-topic", code=1))["problems"][0]


async def test_the_examples_give_what_the_page_prints(pipeline: Pipeline, tmp_path: Path) -> None:
    """One after the other, on a topic of 20 records."""
    await write_odd(pipeline, 0, 20)
    assert len(EXAMPLES) == 3
    for command, answer in EXAMPLES:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "deploy.cli", "archive", *shlex.split(command)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment(pipeline) | {"PYTHONPATH": str(REPOSITORY)},
            check=True,
        )
        assert done.stdout.replace(pipeline.topics.prefix, "") == answer


async def test_a_hole_is_named_and_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    """Until it is accepted; then nothing reads across it as if it were not there."""
    topic = pipeline.topics.raw
    await write_odd(pipeline, 0, 10)
    await archived(pipeline, tmp_path)
    await write_odd(pipeline, 10, 20)
    await delete_before(pipeline, 15)
    assert f"{topic}[0] 10 to 15" in await archived(pipeline, tmp_path, code=1)
    log = ArchivedLog(tmp_path, log_reader(pipeline))
    with pytest.raises(ArchiveError, match="has nothing of 10 to 15"):
        _ = [one async for one in log.stretch(topic, 0, 5, 20)]
    assert await log.bounds(topic, 0) == (15, 20)
    assert (await archived(pipeline, tmp_path, "--accept-hole"))["holes"] == [
        f"{topic}[0] 10 to 15"
    ]
    with pytest.raises(ArchiveError, match="lost 10 to 15"):
        _ = [one async for one in log.stretch(topic, 0, 5, 20)]
    assert await log.bounds(topic, 0) == (15, 20)
    found = await asyncio.to_thread(run, pipeline, "verify", str(tmp_path))
    assert found["holes"] == [f"{topic}[0] 10 to 15"]


async def test_a_log_made_again_is_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    """One that is shorter than its archive, and one that says something else."""
    await write_odd(pipeline, 0, 10)
    await archived(pipeline, tmp_path / "one")
    own = tmp_path / "one" / pipeline.topics.raw
    (own / "1").mkdir()
    (own / "0" / "0-10.parquet").rename(own / "1" / "0-10.parquet")
    assert "the log was made again" in await archived(pipeline, tmp_path / "one", code=1)
    await pipeline.write(*[b"x"] * 10, partition=1)
    assert "another record at 9" in await archived(pipeline, tmp_path / "one", code=1)


@pytest.mark.timeout(240)
async def test_killed_amid_a_file_it_goes_on(pipeline: Pipeline, tmp_path: Path) -> None:
    """Killed again and again, followed and stopped: the archive is what the topic is."""
    await pipeline.write(*[b"v" * 100] * 6_000)
    topic = pipeline.topics.raw

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "deploy.cli", "archive", "--to", str(tmp_path), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=REPOSITORY,
            env=environment(pipeline),
        )

    def end() -> int:
        segments = segments_of(tmp_path, topic, 0)
        return segments[-1].next if segments else 0

    async def wait(condition: Callable[[], Any], what: str) -> None:
        await asyncio.to_thread(wait_until, condition, 60, what)

    for _ in range(2):
        before = end()
        process = start("--records-per-file", "400", "--records-per-second", "1500")
        await wait(lambda before=before: end() > before, "a file is written")  # type: ignore[misc]
        process.kill()
        process.wait(10)
    assert 0 < end() < 6_000
    half = tmp_path / topic / "0" / f"{end()}-{end() + 400}.parquet.unfinished"
    half.write_bytes(b"PAR1")

    process = start("--follow", "--file-seconds", "1")
    await wait(lambda: end() == 6_000, "it caught up")
    assert "another `burnstream archive`" in await archived(pipeline, tmp_path, code=1)
    await pipeline.write(*[b"w"] * 5)
    await wait(lambda: end() == 6_005, "it follows")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert not half.exists()
    found = await asyncio.to_thread(run, pipeline, "verify", str(tmp_path))
    assert (found["records"], found["compared"], found["problems"]) == (6_005, 6_005, [])

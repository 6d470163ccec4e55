"""`burnstream archive` and `burnstream archive verify`."""

import asyncio
import signal
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from aiokafka import AIOKafkaConsumer

from deploy.runtime.command_line import (
    Json,
    RefusedError,
    examples,
    fail,
    one_line_errors,
    show,
)
from deploy.runtime.exit import ExitCode
from deploy.runtime.kafka import reader_options, require_topics
from deploy.runtime.progress_bar import Tell, progress_bar
from deploy.runtime.settings import load_settings
from schemas.formats import NewerFormatError
from streams.archive.segments import ArchiveError, pyarrow_parquet
from streams.archive.verify import Verified, verify
from streams.archive.write import Archived, Archiver, Job, only_one
from streams.log_reader import LogReader
from streams.settings import StreamsSettings

_CLIENT_ID = "archive"
_REFUSALS = (ArchiveError, NewerFormatError, OSError)

Rate = Annotated[float, typer.Option(min=1, help="Records read a second, at most.")]

app = typer.Typer(invoke_without_command=True)


@app.callback(
    epilog=examples(
        "burnstream archive --to archive",
        "burnstream archive --to archive --follow            # as a service, until stopped",
        "burnstream archive --to archive --until 2026-11-01  # what the broker had by then",
        "burnstream archive verify archive",
    )
)
def archive(
    context: typer.Context,
    *,
    to: Annotated[
        Path | None, typer.Option(help="The archive's folder; made where it is not.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until stopped.")] = False,
    until: Annotated[
        datetime | None, typer.Option(help="Only records that came before, UTC.")
    ] = None,
    records_per_second: Rate = 20_000,
    records_per_file: Annotated[int, typer.Option(min=1, help="At most.")] = 100_000,
    megabytes_per_file: Annotated[
        int, typer.Option(min=1, help="Of values, about; so much is held in memory.")
    ] = 64,
    file_seconds: Annotated[
        float, typer.Option(min=1, help="With --follow: a file comes at least so often.")
    ] = 300,
    accept_hole: Annotated[
        bool, typer.Option("--accept-hole", help="Go on behind what retention took.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the records of usage.raw to Parquet, before retention takes them."""
    if context.invoked_subcommand is not None:
        return
    settings = load_settings(StreamsSettings)
    with one_line_errors(settings, _REFUSALS):
        if to is None:
            raise RefusedError("say where: --to FOLDER")
        if follow and until is not None:
            raise RefusedError("--follow has no end, --until is one: give either")
        pyarrow_parquet()
        job = Job(
            to,
            settings.topics.raw,
            None if until is None else _milliseconds(until),
            records_per_second,
            records_per_file,
            megabytes_per_file << 20,
            file_seconds,
            accept_hole,
        )
        with only_one(to), progress_bar("archive: offsets") as tell:
            done = asyncio.run(_archive(settings, job, follow=follow, tell=tell))
    show(as_json, asdict(done), lambda: _in_words(done, job))


@app.command(
    "verify",
    epilog=examples(
        "burnstream archive verify archive", "burnstream archive verify archive --without-topic"
    ),
)
def verify_archive(
    folder: Annotated[Path, typer.Argument(help="The archive's folder.")],
    without_topic: Annotated[
        bool, typer.Option("--without-topic", help="Read the files alone.")
    ] = False,
    records_per_second: Rate = 20_000,
    as_json: Json = False,
) -> None:
    """Read an archive whole, and compare it with the topic where both have the offsets."""
    settings = load_settings(StreamsSettings)
    with one_line_errors(settings, _REFUSALS), progress_bar("archive verify: partitions") as tell:
        pyarrow_parquet()
        found = asyncio.run(
            _verify(settings, folder, records_per_second, tell, with_topic=not without_topic)
        )
    show(as_json, asdict(found), lambda: _verified_in_words(found))
    if found.problems:
        fail(f"{folder}: {len(found.problems)} problems", ExitCode.FAILED)


async def _partitions(settings: StreamsSettings) -> list[int]:
    async with AIOKafkaConsumer(**reader_options(settings, _CLIENT_ID)) as client:
        await require_topics(client, settings.topics.raw)
        await client._client.add_topic(settings.topics.raw)  # noqa: SLF001 -- it loads a topic so
        return sorted(client.partitions_for_topic(settings.topics.raw) or ())


async def _archive(settings: StreamsSettings, job: Job, *, follow: bool, tell: Tell) -> Archived:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    partitions = await _partitions(settings)
    reader = LogReader(reader_options(settings, _CLIENT_ID))
    try:
        archiver = Archiver(reader, job)
        await archiver.begin(partitions)
        await archiver.catch_up(tell, stopping)
        if follow:
            await archiver.follow(tell, stopping)
    finally:
        await reader.stop()
    return archiver.done


async def _verify(
    settings: StreamsSettings, folder: Path, rate: float, tell: Tell, *, with_topic: bool
) -> Verified:
    topic = settings.topics.raw
    if not with_topic:
        return await verify(folder, topic, None, rate, tell)
    await _partitions(settings)
    reader = LogReader(reader_options(settings, _CLIENT_ID))
    try:
        return await verify(folder, topic, reader, rate, tell)
    finally:
        await reader.stop()


def _milliseconds(moment: datetime) -> int:
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1_000)


def _in_words(done: Archived, job: Job) -> str:
    lines = [f"{done.records:,} records in {done.files:,} new files"]
    lines += [f"  accepted as lost: {hole}" for hole in done.holes]
    lines += [
        f"  {job.topic}[{partition}] is archived up to {following}"
        for partition, following in sorted(done.next_offsets.items())
    ]
    return "\n".join(lines)


def _verified_in_words(found: Verified) -> str:
    lines = [
        f"{found.records:,} records in {found.files:,} files, {found.compared:,} as in the topic"
    ]
    lines += [
        f"  partition {partition}: {first} to {following}"
        for partition, (first, following) in sorted(found.covers.items())
    ]
    lines += [f"  accepted as lost: {hole}" for hole in found.holes]
    lines += [f"  PROBLEM: {problem}" for problem in found.problems]
    return "\n".join(lines)

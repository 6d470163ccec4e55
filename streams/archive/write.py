"""From the topic to the archive: on from where the last file ends, at a bounded rate.

Killed at any moment, the next run goes on behind the last whole file.
"""

import asyncio
import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from streams.archive.segments import (
    ArchiveError,
    partition_folder,
    read_segment,
    segments_of,
    sweep,
    write_hole,
    write_segment,
)
from streams.log_reader import LogReader

LOOK_SECONDS = 1.0
_FIRST_SECONDS = 10.0

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Job:
    """What is archived, and how. `until_ms`: records of this broker time and later are left."""

    folder: Path
    topic: str
    until_ms: int | None
    records_per_second: float
    records_per_file: int
    bytes_per_file: int
    file_seconds: float  # a file is closed at this age when following, full or not
    accept_hole: bool


@dataclass
class Archived:
    """What a run has done."""

    records: int = 0
    files: int = 0
    next_offsets: dict[int, int] = field(default_factory=dict)  # by partition
    holes: list[str] = field(default_factory=list)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold an archive: two that write it would write its records twice. Raises ArchiveError."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArchiveError(f"{folder}: another `burnstream archive` writes it") from None
        yield


class Archiver:
    """Writes the files of a job."""

    def __init__(self, reader: LogReader, job: Job) -> None:
        self._reader, self._job = reader, job
        self._began, self._read = time.monotonic(), 0
        self.done = Archived()

    async def begin(self, partitions: list[int]) -> None:
        """Find where each partition goes on; write nothing but holes that are accepted.

        Raises:
            ArchiveError: records were lost before they were archived, the log was made again, or
                the files do not join.
        """
        lost = []
        for partition in partitions:
            begin, end = await self._reader.bounds(self._job.topic, partition)
            sweep(self._job.folder, self._job.topic, partition)
            segments = segments_of(self._job.folder, self._job.topic, partition)
            following = segments[-1].next if segments else begin
            where = f"{self._job.topic}[{partition}]"
            if following > end:
                raise ArchiveError(
                    f"{where} ends at {end}, its archive at {following}: the log was made again or "
                    f"cut off; archive it into another folder"
                )
            if following < begin:
                lost.append((partition, following, begin))
            else:
                await self._require_same_log(partition, begin)
            self.done.next_offsets[partition] = following
        said = [f"{self._job.topic}[{one}] {first} to {begin}" for one, first, begin in lost]
        if lost and not self._job.accept_hole:
            raise ArchiveError(
                f"lost, between the archive's end and the log's beginning: {', '.join(said)}; "
                f"--accept-hole goes on behind"
            )
        for partition, first, begin in lost:
            reason = orjson.dumps(
                {"lost": [first, begin], "accepted_at_ms": time.time_ns() // 10**6}
            )
            write_hole(self._own(partition), first, begin, reason)
            self.done.next_offsets[partition] = begin
        self.done.holes = said

    async def _require_same_log(self, partition: int, begin: int) -> None:
        """Compare the last record that both have."""
        for segment in reversed(segments_of(self._job.folder, self._job.topic, partition)):
            if segment.is_hole or segment.next <= begin:
                return
            last = None
            for chunk in read_segment(segment, self._job.topic, begin):
                last = chunk[-1] if chunk else last
            if last is None:
                continue
            there = await self._reader.first_at(
                self._job.topic, partition, last.offset, _FIRST_SECONDS
            )
            if there is None or difference(last, there):
                raise ArchiveError(
                    f"{self._job.topic}[{partition}] has another record at {last.offset} than its "
                    f"archive: the log was made again; archive it into another folder"
                )
            return

    async def catch_up(self, tell: Tell, stopping: asyncio.Event) -> None:
        """Archive all that is there now, below the job's time."""
        ends = {one: await self._end(one) for one in self.done.next_offsets}
        total = sum(max(0, end - self.done.next_offsets[one]) for one, end in ends.items())
        before = self._read
        for partition, end in ends.items():
            await self._partition(
                partition, end, stopping, lambda: tell(self._read - before, total)
            )

    async def follow(self, tell: Tell, stopping: asyncio.Event) -> None:
        """Go on until it is told to stop: a file when one is full, or at its age."""
        closed_at = time.monotonic()
        while not stopping.is_set():
            ends = await self._reader.ends(self._job.topic, self.done.next_offsets)
            waiting = max(end - self.done.next_offsets[one] for one, end in ends.items())
            is_due = time.monotonic() - closed_at >= self._job.file_seconds
            if waiting >= self._job.records_per_file or (waiting > 0 and is_due):
                await self.catch_up(tell, stopping)
                closed_at = time.monotonic()
            try:
                await asyncio.wait_for(stopping.wait(), LOOK_SECONDS)
            except TimeoutError:
                continue

    def _own(self, partition: int) -> Path:
        return partition_folder(self._job.folder, self._job.topic, partition)

    async def _end(self, partition: int) -> int:
        end = (await self._reader.ends(self._job.topic, [partition]))[partition]
        if self._job.until_ms is None:
            return end
        found = await self._reader.offset_at(self._job.topic, partition, self._job.until_ms)
        return end if found is None else min(end, found)

    async def _partition(
        self, partition: int, end: int, stopping: asyncio.Event, tell: Callable[[], None]
    ) -> None:
        start = self.done.next_offsets[partition]
        records: list[Any] = []
        size = 0
        async for chunk in self._reader.stretch(self._job.topic, partition, start, end):
            if stopping.is_set():
                return  # What is not written yet, the next run reads again.
            for record in chunk:
                records.append(record)
                size += len(record.value or b"") + len(record.key or b"")
                if len(records) >= self._job.records_per_file or size >= self._job.bytes_per_file:
                    await self._write(partition, record.offset + 1, records)
                    records, size = [], 0
            self._read += len(chunk)
            tell()
            due = self._began + self._read / self._job.records_per_second
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        if self.done.next_offsets[partition] < end:
            await self._write(partition, end, records)

    async def _write(self, partition: int, following: int, records: list[Any]) -> None:
        first = self.done.next_offsets[partition]
        await asyncio.to_thread(write_segment, self._own(partition), first, following, records)
        self.done.next_offsets[partition] = following
        self.done.records += len(records)
        self.done.files += 1


def difference(archived: Any, there: Any) -> str | None:
    """Return the first attribute in which two records differ, None: they are the same."""
    names = ("offset", "timestamp", "timestamp_type", "key", "value")
    for name in names:
        if getattr(archived, name) != getattr(there, name):
            return name
    return None if tuple(archived.headers) == tuple(there.headers) else "headers"

"""`usage.raw` from its archive and, where that ends, from the topic: asked like a LogReader."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

from streams.archive.segments import ArchiveError, Segment, read_segment, segments_of
from streams.log_reader import LogReader


class ArchivedLog:
    """Reads the archive first; what both have, it does not ask the topic for.

    Files are listed at each question, so that it may run beside `burnstream archive --follow`.
    Besides what a LogReader raises, questions raise ArchiveError.
    """

    def __init__(self, folder: Path, reader: LogReader) -> None:
        self._folder, self._reader = folder, reader

    async def stop(self) -> None:
        """Close the connection that the reader keeps."""
        await self._reader.stop()

    async def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Return the offset that comes next in each of some partitions (committed)."""
        return await self._reader.ends(topic, partitions)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the first offset from which all is there, and the one that comes next."""
        begin, end = await self._reader.bounds(topic, partition)
        segments = self._segments(topic, partition)
        if not segments or segments[-1].next < begin:
            return begin, end
        whole = segments
        for number, segment in enumerate(segments):
            if segment.is_hole:
                whole = segments[number + 1 :]
        return min(begin, whole[0].first) if whole else begin, end

    async def first_at(
        self, topic: str, partition: int, offset: int, timeout_seconds: float
    ) -> Any | None:
        """Return the first record at or beyond an offset, None if none came in time."""
        segments = self._segments(topic, partition)
        if segments and offset >= segments[0].first:
            for segment in segments:
                async for chunk in _chunks(segment, topic, offset):
                    return chunk[0]
            offset = max(offset, segments[-1].next)
        return await self._reader.first_at(topic, partition, offset, timeout_seconds)

    async def first_of_each(
        self, topic: str, partition: int, offsets: Sequence[int], end: int
    ) -> list[Any]:
        """Return the first record at or beyond each offset and below `end`, where there is one."""
        found = []
        for offset in offsets:
            async for chunk in self.stretch(topic, partition, offset, end):
                if chunk:
                    found.append(chunk[0])
                    break
        return found

    async def offset_at(self, topic: str, partition: int, ms: int) -> int | None:
        """Return the offset of the first record of a broker time or later, None if none is."""
        for segment in self._segments(topic, partition):
            async for chunk in _chunks(segment, topic, 0, since_ms=ms):
                return int(chunk[0].offset)
        return await self._reader.offset_at(topic, partition, ms)

    async def first_later(self, topic: str, partition: int, ms: int) -> int | None:
        """Return the first offset whose broker time is later than `ms`, None if none is."""
        return await self.offset_at(topic, partition, ms + 1)

    async def stretch(
        self, topic: str, partition: int, start: int, end: int
    ) -> AsyncIterator[Sequence[Any]]:
        """Yield the records of [start, end) in chunks, in order, across the seam."""
        for segment in self._segments(topic, partition):
            if segment.next <= start or segment.first >= end:
                continue
            if segment.first > start:
                break  # before the archive's beginning: only the topic may have it
            if segment.is_hole:
                raise ArchiveError(
                    f"{topic}[{partition}] lost {segment.first} to {segment.next} before it was "
                    f"archived: start at {segment.next}, or end at {segment.first}"
                )
            async for chunk in _chunks(segment, topic, start):
                yield [record for record in chunk if record.offset < end]
            start = segment.next
        if start >= end:
            return
        begin, _ = await self._reader.bounds(topic, partition)
        if start < begin:
            raise ArchiveError(
                f"{topic}[{partition}] has nothing of {start} to {begin}: neither its archive in "
                f"{self._folder} nor the topic, whose retention has passed"
            )
        async for records in self._reader.stretch(topic, partition, start, end):
            yield records

    def _segments(self, topic: str, partition: int) -> list[Segment]:
        return segments_of(self._folder, topic, partition)


async def _chunks(
    segment: Segment, topic: str, start: int, *, since_ms: int | None = None
) -> AsyncIterator[list[Any]]:
    """Yield what is not empty, and let others run in between."""
    if segment.is_hole or segment.next <= start:
        return
    for chunk in read_segment(segment, topic, start, since_ms=since_ms):
        if chunk:
            yield chunk
        await asyncio.sleep(0)

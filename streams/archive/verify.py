"""Whether an archive is whole, and says what the topic says where both have the offsets."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from schemas.formats import NewerFormatError
from streams.archive.segments import (
    ArchiveError,
    Segment,
    archived_partitions,
    read_segment,
    segments_of,
)
from streams.archive.write import Tell, difference
from streams.log_reader import LogReader

_PROBLEMS_MAX = 100


@dataclass
class Verified:
    """What was found; an archive is good when it has no problems."""

    files: int = 0
    records: int = 0
    compared: int = 0  # with the topic
    covers: dict[int, tuple[int, int]] = field(default_factory=dict)  # partition -> [first, next)
    holes: list[str] = field(default_factory=list)  # accepted ones
    problems: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        """Keep a problem, if they are not too many already."""
        if len(self.problems) < _PROBLEMS_MAX:
            self.problems.append(problem)


async def verify(
    folder: Path, topic: str, reader: LogReader | None, records_per_second: float, tell: Tell
) -> Verified:
    """Read every file; compare with the topic unless `reader` is None."""
    found = Verified()
    partitions = archived_partitions(folder, topic)
    if not partitions:
        found.add(f"{folder} has no archive of {topic}")
    began = time.monotonic()
    for number, partition in enumerate(partitions):
        try:
            segments = segments_of(folder, topic, partition)
        except ArchiveError as error:
            found.add(str(error))
            continue
        if not segments:
            continue
        found.covers[partition] = (segments[0].first, segments[-1].next)
        begin, end = (0, 0)
        if reader is not None:
            begin, end = await reader.bounds(topic, partition)
            _judge_bounds(found, f"{topic}[{partition}]", segments[-1].next, begin, end)
        for segment in segments:
            if segment.is_hole:
                found.holes.append(f"{topic}[{partition}] {segment.first} to {segment.next}")
                continue
            found.files += 1
            _read_whole(found, segment, topic, partition)
            start = max(begin, segment.first)
            if reader is not None and start < min(end, segment.next):
                await _compare(found, segment, (topic, partition), reader, start)
            await asyncio.sleep(
                max(0.0, began + found.compared / records_per_second - time.monotonic())
            )
        tell(number + 1, len(partitions))
    return found


def _judge_bounds(found: Verified, where: str, following: int, begin: int, end: int) -> None:
    if following < begin:
        found.add(f"{where}: {following} to {begin} are neither archived nor in the topic")
    if following > end:
        found.add(f"{where} ends at {end}, its archive at {following}: the log was made again")


def _read_whole(found: Verified, segment: Segment, topic: str, partition: int) -> None:
    expected = segment.first
    try:
        for chunk in read_segment(segment, topic, 0):
            for record in chunk:
                if record.partition != partition or not expected <= record.offset < segment.next:
                    found.add(f"{segment.path}: offset {record.offset} has no place there")
                    return
                expected = record.offset + 1
            found.records += len(chunk)
    except (ArchiveError, NewerFormatError, ValueError) as error:
        found.add(str(error))


async def _compare(
    found: Verified, segment: Segment, of: tuple[str, int], reader: LogReader, start: int
) -> None:
    try:
        archived = (one for chunk in read_segment(segment, of[0], start) for one in chunk)
        async for records in reader.stretch(*of, start, segment.next):
            for there in records:
                own = next(archived, None)
                what = "being there" if own is None else difference(own, there)
                if what:
                    found.add(f"{segment.path}: {there.offset} differs from the topic in {what}")
                    return
                found.compared += 1
        left = next(archived, None)
        if left is not None:
            found.add(f"{segment.path}: {left.offset} is not in the topic")
    except (ArchiveError, NewerFormatError, ValueError) as error:
        if str(error) not in found.problems:
            found.add(str(error))

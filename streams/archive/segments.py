"""The files of an archive: what each covers, written whole or not at all.

    FOLDER/usage.raw/<partition>/<first>-<next>.parquet   records of [first, next)
    FOLDER/usage.raw/<partition>/<first>-<next>.hole      lost before they were archived

A file's name is all that is believed of it: it comes by a rename, after its bytes are on the disk.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from schemas.formats import require_known

FORMAT = 1
_NAME = re.compile(r"(\d+)-(\d+)\.(parquet|hole)")
_UNFINISHED = ".unfinished"
_ROW_GROUP_RECORDS = 5_000
_READ_RECORDS = 100  # at a time: what is unpacked at once holds everything else up


class ArchiveError(Exception):
    """An archive that cannot be gone on with, or read; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ArchivedRecord:
    """A record of the topic as it was, by the names that aiokafka gives its attributes."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # ms
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A file, and the offsets [first, next) that it covers."""

    first: int
    next: int
    path: Path
    is_hole: bool


def pyarrow_parquet() -> tuple[Any, Any]:
    """Return pyarrow and its Parquet, which only an extra installs. Raises ArchiveError."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ArchiveError("Parquet needs pyarrow: pip install 'burnstream[parquet]'") from None
    return pa, pq


def partition_folder(folder: Path, topic: str, partition: int) -> Path:
    """Return where the files of a partition lie."""
    return folder / topic / str(partition)


def archived_partitions(folder: Path, topic: str) -> list[int]:
    """Return the partitions that have a folder."""
    top = folder / topic
    names = [one.name for one in top.iterdir() if one.is_dir()] if top.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal())


def segments_of(folder: Path, topic: str, partition: int) -> list[Segment]:
    """Return a partition's files in order. Raises ArchiveError where they do not join."""
    found = []
    own = partition_folder(folder, topic, partition)
    for path in own.iterdir() if own.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match:
            first, following = int(match[1]), int(match[2])
            found.append(Segment(first, following, path, match[3] == "hole"))
    found.sort()
    for before, after in pairwise(found):
        if after.first != before.next:
            what = "a hole" if after.first > before.next else "an overlap"
            raise ArchiveError(
                f"{own}: {what} between {before.path.name} and {after.path.name}: a file is "
                f"missing or not of this archive; bring it back, or archive into another folder"
            )
    return found


def sweep(folder: Path, topic: str, partition: int) -> None:
    """Remove what a run that was killed left half written."""
    for path in partition_folder(folder, topic, partition).glob(f"*{_UNFINISHED}"):
        path.unlink()


def write_segment(own: Path, first: int, following: int, records: Sequence[Any]) -> None:
    """Write the records of [first, following) into a partition's folder.

    After a kill the file is whole, or not there.
    """
    pa, parquet = pyarrow_parquet()
    topic, partition = own.parent.name, int(own.name)
    schema = _schema(pa, topic, partition, first, following)
    table = pa.table(
        {
            "partition": [partition] * len(records),
            "offset": [one.offset for one in records],
            "timestamp": [one.timestamp for one in records],
            "timestamp_type": [one.timestamp_type for one in records],
            "key": [one.key for one in records],
            "headers": [
                [{"name": name, "value": value} for name, value in one.headers] for one in records
            ],
            "value": [one.value for one in records],
        },
        schema,
    )
    path = own / f"{first}-{following}.parquet"
    with _whole(path) as file:
        parquet.write_table(table, file, compression="zstd", row_group_size=_ROW_GROUP_RECORDS)


def write_hole(own: Path, first: int, following: int, reason: bytes) -> None:
    """Put down that [first, following) was lost, and that somebody accepted it."""
    path = own / f"{first}-{following}.hole"
    with _whole(path) as file:
        file.write(reason)


class _whole:  # noqa: N801 -- a context manager
    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = path.with_name(path.name + _UNFINISHED)

    def __enter__(self) -> Any:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._unfinished.open("wb")
        return self._file

    def __exit__(self, kind: object, *_: object) -> None:
        with self._file:
            if kind is not None:
                return
            self._file.flush()
            os.fsync(self._file.fileno())
        self._unfinished.rename(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def read_segment(
    segment: Segment, topic: str, start: int, *, since_ms: int | None = None
) -> Iterator[list[ArchivedRecord]]:
    """Yield the records at or beyond `start`, and not before a broker time, in chunks.

    Raises ArchiveError, and NewerFormatError for a file of a later release.
    """
    pa, parquet = pyarrow_parquet()
    try:
        with parquet.ParquetFile(segment.path) as file:
            _require_own(file, segment)
            groups = [
                number
                for number in range(file.num_row_groups)
                if _may_hold(file.metadata.row_group(number), start, since_ms)
            ]
            for batch in file.iter_batches(_READ_RECORDS, row_groups=groups):
                yield [
                    record
                    for record in _records(batch, pa, topic)
                    if record.offset >= start and (since_ms is None or record.timestamp >= since_ms)
                ]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ArchiveError(f"{segment.path} cannot be read: {error}") from error


def _schema(pa: Any, topic: str, partition: int, first: int, following: int) -> Any:
    said = {"format": FORMAT, "topic": topic, "partition": partition}
    said |= {"first": first, "next": following}
    header = pa.struct([pa.field("name", pa.string(), nullable=False), ("value", pa.binary())])
    required = [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("timestamp_type", pa.int8()),
    ]
    return pa.schema(
        [
            *(pa.field(name, kind, nullable=False) for name, kind in required),
            ("key", pa.binary()),
            pa.field("headers", pa.list_(header), nullable=False),
            ("value", pa.binary()),
        ],
        {f"burnstream.{name}": str(value) for name, value in said.items()},
    )


def _require_own(file: Any, segment: Segment) -> None:
    said = file.schema_arrow.metadata or {}
    format_said = said.get(b"burnstream.format", b"0")
    require_known(str(segment.path), int(format_said) if format_said.isdigit() else 0, FORMAT)
    covers = (int(said[b"burnstream.first"]), int(said[b"burnstream.next"]))
    if covers != (segment.first, segment.next):
        raise ArchiveError(f"{segment.path} was written as {covers[0]}-{covers[1]}: it was renamed")


def _may_hold(group: Any, start: int, since_ms: int | None) -> bool:
    offsets, times = group.column(1).statistics, group.column(2).statistics
    if offsets is not None and offsets.has_min_max and offsets.max < start:
        return False
    if since_ms is None or times is None or not times.has_min_max:
        return True
    return bool(times.max_raw >= since_ms)


def _records(batch: Any, pa: Any, topic: str) -> Iterator[ArchivedRecord]:
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns["timestamp"] = columns["timestamp"].cast(pa.int64())
    names = ("partition", "offset", "timestamp", "timestamp_type", "key", "value", "headers")
    rows = zip(*(columns[name].to_pylist() for name in names), strict=True)
    for partition, offset, timestamp, timestamp_type, key, value, headers in rows:
        told = tuple((one["name"], one["value"]) for one in headers)
        yield ArchivedRecord(topic, partition, offset, timestamp, timestamp_type, key, value, told)

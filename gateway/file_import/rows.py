"""From a file to its rows, one after the other, whatever it is packed in."""

import csv
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from gateway.file_import.columns import Columns

Format = Literal["ndjson", "csv", "parquet"]

_GZIP_MAGIC, _ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SUFFIXES: dict[str, Format] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
}
_COMPRESSION_SUFFIXES = {".gz", ".zst"}
LINE_BYTES_MAX = 1 << 20
_PARQUET_ROWS = 1_000


class FileError(Exception):
    """The file cannot be read; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row by its number in the file (from 1, without a head), and the event that it says."""

    number: int
    event: bytes


def format_of(path: Path) -> Format:
    """Tell a file's format by its name. Raises FileError."""
    suffixes = [one.lower() for one in path.suffixes if one.lower() not in _COMPRESSION_SUFFIXES]
    found = _SUFFIXES.get(suffixes[-1]) if suffixes else None
    if found is None:
        raise FileError(f"{path}: what is it? Say --format ndjson, csv or parquet")
    return found


class Rows:
    """The rows of a file, and how far it is read."""

    def __init__(self, path: Path, file_format: Format, columns: Columns) -> None:
        self._path, self._format, self._columns = path, file_format, columns
        self._size = path.stat().st_size
        self.share_read = 0.0

    def require_readable(self) -> None:
        """Read the beginning. Raises FileError when it is no such file, or lacks columns."""
        next(iter(self), None)

    def __iter__(self) -> Iterator[Row]:
        """Yield each row. Raises FileError with the place of what cannot be read."""
        number = 0
        try:
            with self._path.open("rb") as file:
                for number, event in enumerate(self._events(file), start=1):
                    if self._format != "parquet":
                        self.share_read = file.tell() / max(self._size, 1)
                    yield Row(number, event)
        except (EOFError, OSError, UnicodeDecodeError, csv.Error) as error:
            raise FileError(f"{self._path}, behind row {number}: {error}") from error

    def _events(self, file: IO[bytes]) -> Iterator[bytes]:
        if self._format == "parquet":
            return self._parquet()
        plain = _decompressed(file)
        return self._ndjson(plain) if self._format == "ndjson" else self._csv(plain)

    def _ndjson(self, file: IO[bytes]) -> Iterator[bytes]:
        while line := file.readline(LINE_BYTES_MAX + 1):
            if len(line) > LINE_BYTES_MAX:
                raise FileError(f"{self._path}: a line has more than {LINE_BYTES_MAX:,} bytes")
            # An empty line counts, so that numbers are those of an editor.
            yield line.strip()

    def _csv(self, file: IO[bytes]) -> Iterator[bytes]:
        text = io.TextIOWrapper(file, "utf-8-sig", newline="")
        reader = csv.DictReader(text, strict=True)
        self._require_columns(list(reader.fieldnames or []))
        for cells in reader:
            extra = cells.pop(None, None)  # of a row with more cells than the head
            yield b"more cells than columns" if extra else self._columns.event_json(cells)

    def _parquet(self) -> Iterator[bytes]:
        try:
            import pyarrow.parquet
        except ImportError:
            raise FileError("Parquet needs pyarrow: pip install 'burnstream[parquet]'") from None
        try:
            file = pyarrow.parquet.ParquetFile(self._path)
            self._require_columns(file.schema_arrow.names)
            total, done = file.metadata.num_rows, 0
            for batch in file.iter_batches(_PARQUET_ROWS):
                for cells in batch.to_pylist():
                    done += 1
                    self.share_read = done / total
                    yield self._columns.event_json(cells)
        except pyarrow.ArrowException as error:
            raise FileError(f"{self._path}: {error}") from error

    def _require_columns(self, names: list[str]) -> None:
        missing = self._columns.missing(names)
        if missing:
            raise FileError(
                f"{self._path} has no column {', '.join(missing)}; it has {', '.join(names)}"
            )


def _decompressed(file: IO[bytes]) -> IO[bytes]:
    magic = file.read(4)
    file.seek(0)
    opened: Any = file
    if magic.startswith(_GZIP_MAGIC):
        opened = gzip.GzipFile(fileobj=file)
    elif magic == _ZSTD_MAGIC:
        import zstandard

        opened = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return io.BufferedReader(opened)
    return io.BufferedReader(opened)

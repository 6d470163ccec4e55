"""How far an import is, beside its file: what a run that was killed goes on from."""

import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

_HEAD_BYTES = 1 << 20


class OtherFileError(Exception):
    """What was kept is of another file, or of other columns; the message says what to do."""


def fingerprint(path: Path, meaning: str) -> str:
    """Return what tells a file and the meaning of its columns from others: size, beginning, end."""
    size = path.stat().st_size
    found = hashlib.sha256(f"{size}\n{meaning}\n".encode())
    with path.open("rb") as file:
        found.update(file.read(_HEAD_BYTES))
        file.seek(max(0, size - _HEAD_BYTES))
        found.update(file.read())
    return found.hexdigest()


@dataclass
class Progress:
    """Rows that Kafka has, or that the reject file has; its size when that was so."""

    fingerprint: str
    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    rejects_bytes: int = 0


def load(path: Path, expected: str) -> Progress:
    """Return what a former run left, or a beginning.

    Raises:
        OtherFileError: it was about another file.
    """
    if not path.exists():
        return Progress(expected)
    progress = Progress(**orjson.loads(path.read_bytes()))
    if progress.fingerprint != expected:
        raise OtherFileError(
            f"{path} was left by the import of another file, or with other columns: remove it to "
            f"begin anew (what was charged is not charged again)"
        )
    return progress


def save(path: Path, progress: Progress) -> None:
    """Write it whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(orjson.dumps(asdict(progress)))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)

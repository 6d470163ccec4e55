"""A numbered, locked folder per worker: two workers of one environment never share state."""

import fcntl
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from deploy.runtime.settings import refuse_setting

SLOTS_MAX = 256


@dataclass(frozen=True, slots=True)
class StateSlot:
    """The slot that this process holds until it ends, however it ends."""

    number: int
    folder: Path
    lock: TextIO


def acquire_slot(state_dir: Path, process: str) -> StateSlot:
    """Take the first free slot of a process kind. The kernel frees it with the process.

    Ends the process with one line when the folder cannot be written to.
    """
    for number in range(SLOTS_MAX):
        folder = state_dir / "workers" / f"{process}-{number}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / "lock").open("w")
        except OSError as error:
            refuse_setting("STATE_DIR", str(state_dir), f"a folder to write to: {error}")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return StateSlot(number, folder, lock)
    raise RuntimeError(f"{SLOTS_MAX} workers of {process} hold all slots of {state_dir}")

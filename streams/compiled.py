"""How the loops over bytes are compiled, and where what was compiled is kept.

numba compiles a function when it is first called, some seconds for all of them, and keeps the
result. It goes by the function's own file alone, while our loops hold names and bounds of
`schemas`: so there is a folder per state of both packages, in `NUMBA_CACHE_DIR` if that is set.
What was compiled is for any processor of the kind: a folder may move between machines.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import config, njit
from numpy.typing import NDArray

import schemas

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool]
Word = Any  # np.uint64, as numba sees it

_OWN_FOLDER = Path(__file__).parent


def _digest() -> str:
    """Return what tells one state of the sources from another."""
    digest = hashlib.sha256(numba.__version__.encode())
    for folder in (_OWN_FOLDER, Path(schemas.__path__[0])):
        for path in sorted(folder.glob("**/*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder() -> Path | None:
    """Return a folder to keep compiled code in, None where nothing can be written."""
    homes = [_OWN_FOLDER / "__pycache__"]
    with contextlib.suppress(RuntimeError):  # nobody's home
        homes.append(Path.home() / ".cache" / "burnstream")
    if _config.CACHE_DIR:  # NUMBA_CACHE_DIR
        homes.insert(0, Path(_config.CACHE_DIR))
    for home in homes:
        folder = home / f"compiled-{_digest()}"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    return None


_config: Any = config  # made of the environment, which no type checker sees
_folder = _cache_folder()
if _folder is not None:
    _config.CACHE_DIR = str(_folder)
_config.CPU_NAME, _config.CPU_FEATURES = "generic", ""

_Loop = TypeVar("_Loop", bound=Callable[..., Any])


def compiled(loop: _Loop) -> _Loop:
    """Compile a function. An index out of bounds is an error, as in Python: bytes are anybody's."""
    return _compile(loop, boundscheck=True)


def compiled_unchecked(loop: _Loop) -> _Loop:
    """Compile one that cannot leave its arrays, whatever they hold; each says why."""
    return _compile(loop, boundscheck=False)


def _compile(loop: _Loop, *, boundscheck: bool) -> _Loop:
    made = njit(cache=_folder is not None, nogil=True, boundscheck=boundscheck)
    return cast("_Loop", made(loop))


@compiled_unchecked
def copy(written: Bytes, at: int, text: Bytes, first: int, length: int) -> int:
    """Write a piece of a text; return where it ends. Raises IndexError."""
    # Looked at once and not for each byte: so it is a copy of memory.
    if min(at, first, length) < 0 or at + length > len(written) or first + length > len(text):
        raise IndexError
    for offset in range(length):
        written[at + offset] = text[first + offset]
    return at + length

"""Where the values of a JSON text stand: the bytes as they came, which parsing would not keep."""

import json
import re
from typing import Any

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


def array_slices(text: str, name: str) -> list[str]:
    """Return the text of each element of the array under a key of the top object.

    `text` must be an object that was parsed before. The last of repeated keys counts, as for every
    JSON reader that takes them at all.
    """
    found: list[str] = []
    at = skip_space(text, skip_space(text, 0) + 1)
    while text[at] == '"':
        key, at = value_at(text, at)
        at = skip_space(text, skip_space(text, at) + 1)  # over the colon
        if key == name and text[at] == "[":
            found, at = _elements(text, at)
        else:
            _, at = value_at(text, at)
        at = skip_space(text, at)
        at = skip_space(text, at + 1) if text[at] == "," else at
    return found


def _elements(text: str, at: int) -> tuple[list[str], int]:
    found = []
    at = skip_space(text, at + 1)
    while text[at] != "]":
        _, end = value_at(text, at)
        found.append(text[at:end])
        at = skip_space(text, end)
        at = skip_space(text, at + 1) if text[at] == "," else at
    return found, at + 1


def value_at(text: str, at: int) -> tuple[Any, int]:
    """Return the value that begins at an index, and where it ends. Raises JSONDecodeError."""
    return _DECODER.raw_decode(text, at)


def skip_space(text: str, at: int) -> int:
    """Return the next index that is no white space of JSON."""
    match = _SPACE.match(text, at)
    return match.end() if match else at

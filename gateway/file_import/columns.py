"""What the columns of a table mean: pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, get_type_hints

import orjson

from schemas.cloud_events import in_utc
from schemas.events import UsageEvent

FIELDS = frozenset(get_type_hints(UsageEvent))
_METADATA = "metadata"
_WHOLE = frozenset({"input_tokens", "output_tokens", "image_count"})
_NUMBERS = _WHOLE | {"duration_seconds", "quantity"}


class MappingError(ValueError):
    """A mapping that cannot be meant; the message says what may be."""


@dataclass(frozen=True)
class Columns:
    """`fields`: a field of the event -> the column that holds it; `constants`: -> its value.

    A column of a field's own name is taken without being named. `metadata.x` is a field, too.
    `known`: the fields that there are; those of an event, unless the rows are something else.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    known: frozenset[str] = FIELDS

    def __post_init__(self) -> None:
        for name in (*self.fields, *self.constants):
            if name not in self.known and not (
                name.startswith(f"{_METADATA}.") and self.known is FIELDS
            ):
                of = "an event" if self.known is FIELDS else "these rows"
                more = ", or metadata.NAME" if self.known is FIELDS else ""
                raise MappingError(
                    f"{name!r} is no field of {of}: {', '.join(sorted(self.known))}{more}"
                )

    def missing(self, columns: list[str]) -> list[str]:
        """Return the columns that are named and not there."""
        return sorted(set(self.fields.values()) - set(columns))

    def event_json(self, row: Mapping[str, Any]) -> bytes:
        """Return the event of a row as JSON; it may still be no valid one.

        Cells are texts, or the values of a typed table. An empty cell is left out.
        """
        source = {name: name for name in row if name in self.known} | dict(self.fields)
        cells = {name: row.get(column) for name, column in source.items()} | dict(self.constants)
        event: dict[str, Any] = {}
        for name, cell in cells.items():
            if cell is None or cell == "":
                continue
            top, _, inner = name.partition(".")
            if inner:
                event.setdefault(_METADATA, {})[inner] = _plain(cell)
            else:
                event[top] = _value(top, cell)
        return orjson.dumps(event)


def _value(name: str, cell: Any) -> Any:
    if name == "timestamp":
        return _timestamp(cell)
    if name in _NUMBERS:
        return _number(cell)
    if name in {_METADATA, "provider_response"} and isinstance(cell, str):
        try:
            return orjson.loads(cell)
        except orjson.JSONDecodeError:
            return cell  # Validation says that it is no object.
    return cell if isinstance(cell, str) else _plain(cell)


def _timestamp(cell: Any) -> Any:
    """A moment of any zone in UTC. A time without a zone is not guessed at."""
    if isinstance(cell, datetime):
        return cell.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z" if cell.tzinfo else cell
    text = str(cell).strip()
    return in_utc(text.replace(" ", "T", 1)) or text


def _number(cell: Any) -> Any:
    if isinstance(cell, Decimal):
        cell = format(cell, "f")
    if not isinstance(cell, str):
        return cell
    for read in (int, float):
        try:
            return read(cell)
        except ValueError:
            continue
    return cell  # Validation says that it is no number.


def _plain(cell: Any) -> Any:
    """What JSON holds; times as text, exact decimals as text."""
    if isinstance(cell, Decimal):
        return format(cell, "f")
    if isinstance(cell, date):  # a datetime is one
        return cell.isoformat()
    return cell if isinstance(cell, str | int | float | bool | dict | list) else str(cell)

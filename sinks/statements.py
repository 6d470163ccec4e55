"""SQL of the sink, by the name of its file in sinks/sql/sink."""

from functools import cache
from importlib import resources


@cache
def statement(name: str) -> bytes:
    """Return the text of sinks/sql/sink/NAME.sql."""
    return (resources.files("sinks") / "sql" / "sink" / f"{name}.sql").read_bytes()

"""A streams worker with a bug: it fails on events whose `feature_id` is "poison"."""

from typing import Any

from streams import agent
from streams.__main__ import main

_module: Any = agent
_judge = _module.judge


def judge(part: Any, seen: Any) -> Any:
    """Fail on a poisoned event, else judge."""
    if any(b'"feature_id":"poison"' in record.value for record in part.records):
        raise LookupError("a bug")
    return _judge(part, seen)


_module.judge = judge

if __name__ == "__main__":
    main()

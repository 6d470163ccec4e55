"""A streams worker with a bug: it fails on events whose `feature_id` is "poison"."""

from typing import Any

import orjson

from streams import agent
from streams.__main__ import main

_module: Any = agent
_judge = _module.judge


def judge(part: Any, seen: Any) -> Any:
    """Fail on a poisoned event, else judge."""
    events = [orjson.loads(part.row_text(row)) for row in range(len(part.rows))]
    for record in part.unusual.values():
        events += [event for event in record.events if isinstance(event, dict)]
    if any(event["feature_id"] == "poison" for event in events):
        raise LookupError("a bug")
    return _judge(part, seen)


_module.judge = judge

if __name__ == "__main__":
    main()

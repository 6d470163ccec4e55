"""A streams worker with a bug: it fails on events whose `feature_id` is "poison"."""

from typing import Any

from streams import agent
from streams.__main__ import main

_module: Any = agent
_judge = _module.judge


def judge(records: Any, seen: Any) -> Any:
    """Fail on a poisoned event, else judge."""
    for record in records:
        for event in record.events:
            if isinstance(event, dict) and event["feature_id"] == "poison":
                raise LookupError("a bug")
    return _judge(records, seen)


_module.judge = judge

if __name__ == "__main__":
    main()

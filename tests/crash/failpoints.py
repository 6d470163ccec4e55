"""The failpoint matrix: every point of both commit orders, derived from the code's own steps."""

import random
from collections.abc import Iterator

from tests.faulty import FOLD, TABLES, Failpoint, steps_of

LATER_PASSES = (2, 3, 4, 5, 6)
# A partition is folded once an assignment, dead letters are few.
SOON = (FOLD, *TABLES)


def kills(rng: random.Random, process: str) -> Iterator[Failpoint]:
    """Yield kill -9 before, after and in the middle of each step, at the first and a later pass."""
    for moment in ("before", "middle", "after"):
        for step in steps_of(process, moment):
            later = 2 if step in SOON else rng.choice(LATER_PASSES)
            for number in (1, later):
                yield Failpoint(process, step, moment, number, "kill")


def freezes() -> Iterator[Failpoint]:
    """Yield SIGSTOP in the middle of each COPY, and where others can see half of what was done.

    In a COPY at the first pass the watchdog ends what wakes up; elsewhere a zombie goes on.
    """
    for table in TABLES:
        yield Failpoint("sinks", table, "middle", 1, "stop")
        yield Failpoint("sinks", table, "middle", 2, "zombie")
    for process, step, moment in (
        ("sinks", "commit", "before"),
        ("sinks", "commit", "after"),
        ("streams", FOLD, "middle"),
        ("streams", "send", "before"),
        ("streams", "send", "after"),
        ("streams", "remember", "before"),
    ):
        yield Failpoint(process, step, moment, 2, "zombie")


def pairs(rng: random.Random) -> list[tuple[Failpoint, Failpoint]]:
    """Return each moment of each streams step at one pass, each beside a random sinks point."""
    passes = list(kills(rng, "streams"))
    streams = [rng.choice(both) for both in zip(passes[::2], passes[1::2], strict=True)]
    sinks = rng.sample(list(kills(rng, "sinks")), len(streams))
    return list(zip(streams, sinks, strict=True))

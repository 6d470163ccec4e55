"""What is compared with what, and how far it should reach. Pure; nothing is asserted anywhere."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from deploy.bench.figures import OURS, Figure

KAFKA_STREAMS = "Kafka Streams"
QUIX_STREAMS = "Quix Streams"
USUAL_FAUST = "usual Faust"
BARE_COPY = "bare COPY"

STREAM_1 = "stream, 1 event a record"
STREAM_50 = "stream, 50 events a record"
SINK = "sink"
SINK_COPIES = "sink, 5 % late duplicates"
STREAM_PLAIN = "growth: stream"
STREAM_CUSTOMERS = "growth: stream, 10 x the customers"
STREAM_PRICES = "growth: stream, a long price list"
SINK_PLAIN = "growth: sink"
SINK_CUSTOMERS = "growth: sink, 10 x the customers"
SINK_LEDGER = "growth: sink, a large ledger"


class Goal(NamedTuple):
    """How far a figure of ours should reach: beside another figure, or by its own value.

    `beside`: (measure, contender) of the other figure.
    """

    measure: str
    target: float | None = None
    floor: float | None = None
    beside: tuple[str, str] | None = None
    is_less_better: bool = False


GOALS = (
    Goal(STREAM_1, 4.0, 2.0, (STREAM_1, KAFKA_STREAMS)),
    Goal(STREAM_1, 4.0, 2.0, (STREAM_1, QUIX_STREAMS)),
    Goal(STREAM_1, None, None, (STREAM_1, USUAL_FAUST)),
    Goal(STREAM_50, 2.5, 1.5, (STREAM_50, KAFKA_STREAMS)),
    Goal(STREAM_50, 4.0, 2.0, (STREAM_50, QUIX_STREAMS)),
    Goal(STREAM_50, None, None, (STREAM_50, USUAL_FAUST)),
    Goal(SINK, 0.90, 0.75, (SINK, BARE_COPY)),
    Goal(SINK_COPIES, 0.70, 0.40, (SINK, OURS)),
    Goal("gateway", 60_000, 40_000),
    Goal("202 of a single event, p50", is_less_better=True),
    Goal("202 of a single event, p99", 15, 40, is_less_better=True),
    Goal("e2e", 30_000, 18_000),
    Goal("accepted to ledger, p50", 60, None, is_less_better=True),
    Goal("accepted to ledger, p99", 300, 1_000, is_less_better=True),
    Goal("recovery", 60, 150, is_less_better=True),
    Goal("memory of an identity", 60, 120, is_less_better=True),
    Goal(STREAM_CUSTOMERS, 0.8, 0.6, (STREAM_PLAIN, OURS)),
    Goal(STREAM_PRICES, 0.8, 0.6, (STREAM_PLAIN, OURS)),
    Goal(SINK_CUSTOMERS, 0.8, 0.6, (SINK_PLAIN, OURS)),
    Goal(SINK_LEDGER, 0.8, 0.6, (SINK_PLAIN, OURS)),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A goal and the figures that it is about."""

    goal: Goal
    ours: Figure
    theirs: Figure | None

    @property
    def reached(self) -> float:
        """The ratio to the other figure, or the value itself."""
        return self.ours.value / self.theirs.value if self.theirs else self.ours.value

    @property
    def verdict(self) -> str:
        """How far it reached: `target`, `floor`, `below`, or nothing where there is no goal."""
        for name, bound in (("target", self.goal.target), ("floor", self.goal.floor)):
            if bound is not None and self._reaches(bound):
                return name
        return "below" if self.goal.target is not None else ""

    def _reaches(self, bound: float) -> bool:
        return self.reached <= bound if self.goal.is_less_better else self.reached >= bound


def compare(figures: Iterable[Figure], goals: Iterable[Goal] = GOALS) -> list[Comparison]:
    """Return the goals whose figures were measured, in their order."""
    found: Mapping[tuple[str, str], Figure] = {(one.measure, one.contender): one for one in figures}
    return [
        Comparison(goal, found[goal.measure, OURS], found[goal.beside] if goal.beside else None)
        for goal in goals
        if (goal.measure, OURS) in found and (goal.beside is None or goal.beside in found)
    ]

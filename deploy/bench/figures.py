"""What a measurement yields, and the arithmetic on it. Pure."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Unit = Literal["events/s", "ms", "s", "bytes"]
OURS = "burnstream"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. `measure` and `conditions` say of what; figures of the same may be compared.

    `cpu`: microseconds of CPU per event by process. `runs`: what the value is the median of.
    """

    measure: str
    value: float
    unit: Unit
    contender: str = OURS
    conditions: Mapping[str, int] = field(default_factory=dict)
    events: int = 0
    cpu: Mapping[str, float] = field(default_factory=dict)
    runs: Sequence[float] = ()

    @property
    def name(self) -> str:
        """The measure with its conditions, as a table shows it."""
        texts = [f"{value:,} {name.replace('_', ' ')}" for name, value in self.conditions.items()]
        return ", ".join([self.measure, *texts])

    def as_json(self) -> dict[str, Any]:
        """Return an object for JSON, numbers rounded to what means something."""
        cpu = {name: round(one, 2) for name, one in self.cpu.items()}
        found = asdict(self) | {"value": significant(self.value), "cpu": cpu}
        return found | {"runs": [significant(one) for one in self.runs]}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Figure":
        """Read what `as_json` gave."""
        return cls(**found)


def significant(value: float, digits: int = 4) -> float:
    """Return a number rounded to so many digits."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, digits - 1 - math.floor(math.log10(abs(value))))


def median_of(runs: Sequence[Figure]) -> Figure:
    """Return one figure for several runs of the same: medians of the value and of each CPU time."""
    first = runs[0]
    values = [run.value for run in runs]
    return Figure(
        first.measure,
        statistics.median(values),
        first.unit,
        first.contender,
        first.conditions,
        first.events,
        {name: statistics.median(run.cpu[name] for run in runs) for name in first.cpu},
        values,
    )


def medians(runs: Iterable[Sequence[Figure]]) -> list[Figure]:
    """Return the medians of runs that yield several figures each, in the order of the first."""
    by_name: dict[tuple[str, str], list[Figure]] = {}
    for run in runs:
        for figure in run:
            by_name.setdefault((figure.name, figure.contender), []).append(figure)
    return [median_of(figures) for figures in by_name.values()]


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def rate_after_warm_up(
    arrivals: Iterable[tuple[float, int]], warm_up_share: float
) -> tuple[float, float, int]:
    """Return (begun, ended, events) of what came after the warm-up.

    `arrivals`: (seconds, events) in any order. The clock begins with the arrival that completes the
    warm-up; it is not counted itself.
    """
    ordered = sorted(arrivals)
    total = sum(events for _, events in ordered)
    reached = 0
    for moment, events in ordered:
        reached += events
        if reached >= total * warm_up_share:
            return moment, ordered[-1][0], total - reached
    raise ValueError("nothing arrived")


def interpolated(samples: Sequence[tuple[float, float]], moment: float) -> float:
    """Return a rising quantity at a moment, from samples (seconds, quantity) around it."""
    before = samples[0]
    for after in samples:
        if after[0] >= moment:
            share = (moment - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 1.0
            return before[1] + (after[1] - before[1]) * max(0.0, share)
        before = after
    return before[1]


def table(figures: Iterable[Figure]) -> str:
    """Return figures as lines of text."""
    lines = [f"{'measure':44} {'of':14} {'value':>12} {'unit':9} CPU us per event"]
    for one in figures:
        cpu = ", ".join(f"{name} {value:.1f}" for name, value in one.cpu.items())
        value = f"{significant(one.value):,g}" if one.value < 100 else f"{one.value:,.0f}"  # noqa: PLR2004
        lines.append(f"{one.name:44} {one.contender:14} {value:>12} {one.unit:9} {cpu}".rstrip())
    return "\n".join(lines)

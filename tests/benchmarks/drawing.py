"""What the plot shows of a race, as plain data for `plot.py`. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from deploy.bench.figures import Figure, significant
from tests.benchmarks.goals import Comparison

GROWTH = "growth: "


def drawing(figures: Sequence[Figure], comparisons: Iterable[Comparison]) -> dict[str, Any]:
    """Return the bars of each panel: rates, growth, and what has a target where less is better."""
    rates = [
        one for one in figures if one.unit == "events/s" and not one.measure.startswith(GROWTH)
    ]
    compared = list(comparisons)
    return {
        "rates": [
            _bar(one.measure, one.contender, one.value, f"{one.contender}  {one.value:,.0f}")
            for one in sorted(rates, key=lambda one: _first_of(one, rates))
        ],
        "growth": [
            _bar(
                one.goal.measure.removeprefix(GROWTH),
                one.ours.contender,
                one.reached,
                f"{one.reached:.2f}",
            )
            for one in compared
            if one.goal.measure.startswith(GROWTH)
        ],
        "shares": [
            _bar(
                one.goal.measure,
                one.ours.contender,
                one.reached / one.goal.target,
                f"{significant(one.reached, 3):g} {one.ours.unit} of {one.goal.target:g}",
            )
            for one in compared
            if one.goal.is_less_better and one.goal.target
        ],
    }


def _first_of(figure: Figure, figures: Sequence[Figure]) -> int:
    """Return the place of the first figure of the same measure: they stand together."""
    return next(number for number, one in enumerate(figures) if one.measure == figure.measure)


def _bar(label: str, contender: str, value: float, text: str) -> dict[str, Any]:
    return {"label": label, "contender": contender, "value": value, "text": text}

import pytest

from deploy.bench.figures import (
    Figure,
    interpolated,
    median_of,
    medians,
    percentile,
    rate_after_warm_up,
    significant,
    table,
)


def figure(value: float, measure: str = "stream") -> Figure:
    return Figure(measure, value, "events/s", cpu={"worker": value / 10})


def test_the_median_of_runs_is_given_with_them() -> None:
    """One odd run moves nothing, and can be seen."""
    found = median_of([figure(10.0), figure(1_000.0), figure(12.0)])

    assert (found.value, found.cpu["worker"], found.runs) == (12.0, 1.2, [10.0, 1_000.0, 12.0])


def test_runs_with_several_figures_are_kept_apart() -> None:
    """Medians are of figures of one name."""
    runs = [[figure(1.0, "a"), figure(10.0, "b")], [figure(3.0, "a"), figure(30.0, "b")]]

    assert [(one.measure, one.value) for one in medians(runs)] == [("a", 2.0), ("b", 20.0)]


def test_a_figure_survives_json() -> None:
    """What is kept can be printed again."""
    one = Figure("sink", 52_345.6, "events/s", conditions={"customers": 5}, runs=[1.0])

    assert Figure.from_json(one.as_json()).as_json() == one.as_json()
    assert one.as_json()["value"] == 52_350.0


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([1.0], 0.99, 1.0), (range(1, 101), 0.5, 50), (range(1, 101), 0.99, 99), ([3, 1, 2], 1.0, 3)],
)
def test_percentiles_are_values_that_occurred(
    values: list[float], share: float, expected: float
) -> None:
    """The smallest value that the share does not exceed."""
    assert percentile(values, share) == expected


def test_the_warm_up_is_not_counted() -> None:
    """The clock begins with the arrival that completes it, in whatever order they are given."""
    arrivals = [(3.0, 50), (0.0, 10), (1.0, 10), (2.0, 30)]

    assert rate_after_warm_up(arrivals, 0.2) == (1.0, 3.0, 80)


def test_cpu_is_read_between_samples() -> None:
    """A moment between two samples has its share; beyond the last one counts the last."""
    samples = [(0.0, 1.0), (2.0, 3.0)]

    assert [interpolated(samples, moment) for moment in (-1.0, 0.0, 0.5, 2.0, 9.0)] == [
        1.0,
        1.0,
        1.5,
        3.0,
        3.0,
    ]


def test_numbers_are_rounded_to_what_they_mean() -> None:
    """Four digits, whatever the size."""
    assert [significant(one) for one in (0, 123_456, 0.00123456)] == [0, 123_500, 0.001235]


def test_the_table_has_a_line_for_each_figure() -> None:
    """Value, unit and CPU stand there."""
    lines = table([figure(52_345.0), Figure("recovery", 1.234, "s")]).splitlines()

    assert len(lines) == 3
    assert "52,345 events/s" in lines[1]
    assert "worker 5234.5" in lines[1]
    assert "1.234 s" in lines[2]

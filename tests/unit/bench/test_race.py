import pytest

from deploy.bench.figures import Figure
from tests.benchmarks.drawing import drawing
from tests.benchmarks.goals import GOALS, KAFKA_STREAMS, STREAM_1, Goal, compare
from tests.benchmarks.race import MEASURES, chosen
from tests.benchmarks.report import table, with_results

OURS = Figure(STREAM_1, 50_000.0, "events/s", events=100, cpu={"worker": 17.0})
THEIRS = Figure(STREAM_1, 20_000.0, "events/s", KAFKA_STREAMS, events=100, cpu={"worker": 40.0})
LATENCY = Figure("accepted to ledger, p99", 400.0, "ms")


def test_only_what_was_measured_is_compared() -> None:
    """A contender that was left out leaves no row."""
    assert [one.goal.beside for one in compare([OURS, THEIRS])] == [(STREAM_1, KAFKA_STREAMS)]
    assert compare([OURS]) == []


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        (Goal(STREAM_1, 2.0, 1.0, (STREAM_1, KAFKA_STREAMS)), "target"),
        (Goal(STREAM_1, 4.0, 2.0, (STREAM_1, KAFKA_STREAMS)), "floor"),
        (Goal(STREAM_1, 6.0, 4.0, (STREAM_1, KAFKA_STREAMS)), "below"),
        (Goal(STREAM_1, None, None, (STREAM_1, KAFKA_STREAMS)), ""),
        (Goal("accepted to ledger, p99", 500, 600, is_less_better=True), "target"),
        (Goal("accepted to ledger, p99", 300, 1_000, is_less_better=True), "floor"),
        (Goal("accepted to ledger, p99", 30, 100, is_less_better=True), "below"),
    ],
)
def test_a_goal_says_how_far_it_was_reached(goal: Goal, expected: str) -> None:
    """By the ratio, or by the value where less is better."""
    assert [one.verdict for one in compare([OURS, THEIRS, LATENCY], [goal])] == [expected]


def test_the_table_shows_both_sides() -> None:
    """Ratio, both rates and both CPU times stand in the row."""
    row = table(compare([OURS, THEIRS])).splitlines()[2]

    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        STREAM_1,
        "50,000 events/s",
        "17.0",
        KAFKA_STREAMS,
        "20,000 events/s",
        "40.0",
        "2.5 x",
        "4 x",
        "2 x",
        "floor",
    ]


def test_a_page_gets_its_results_replaced() -> None:
    """What stands between the marks goes, everything else stays; without marks it is refused."""
    page = "before\n<!-- results: begin -->\nold\n<!-- results: end -->\nafter\n"

    assert with_results(page, "new\n") == page.replace("\nold\n", "\n\nnew\n\n")
    with pytest.raises(ValueError, match="lacks"):
        with_results("a page", "new")


def test_the_plot_has_a_bar_for_each_figure() -> None:
    """Rates by contender, the rest as shares of their targets."""
    figures = [OURS, LATENCY, THEIRS]

    bars = drawing(figures, compare(figures))

    assert [bar["contender"] for bar in bars["rates"]] == ["burnstream", KAFKA_STREAMS]
    assert [round(bar["value"], 2) for bar in bars["shares"]] == [1.33]
    assert bars["growth"] == []


def test_measures_are_chosen_in_their_order() -> None:
    """Without a wish all run."""
    assert chosen([]) == list(MEASURES)
    assert chosen(["sink", "stream"]) == ["stream", "sink"]


def test_every_goal_can_be_met() -> None:
    """Where there are two bounds, the floor is the easier one."""
    wrong = [
        goal.measure
        for goal in GOALS
        if goal.target is not None
        and goal.floor is not None
        and (goal.floor < goal.target) == goal.is_less_better
    ]

    assert wrong == []

"""What the benchmark of scaling makes of its samples."""

from tests.benchmarks.scaling import Sample, Stage, table


def test_the_table_says_shares_and_what_waited_for_how_long() -> None:
    """Two stages: one worker; then two, after most of a second in which nobody rated anything."""
    alone = [Sample(at, 1, {"streams-0": round(at * 100)}) for at in (0.0, 1.0, 2.0, 3.0, 4.0)]
    joined = [
        Sample(4.1, 1, {"streams-0": 400, "streams-1": 0}),
        Sample(4.5, 60, {"streams-0": 400, "streams-1": 0}),
        Sample(5.0, 90, {"streams-0": 400, "streams-1": 0}),
        Sample(6.0, 2, {"streams-0": 500, "streams-1": 100}),
        Sample(8.0, 1, {"streams-0": 575, "streams-1": 225}),
    ]
    rows = table([Stage("1", 0.0, 4.0), Stage("2", 4.0, 8.0)], alone + joined).splitlines()[2:]
    assert rows == [
        "| 1 | 100 | 100% | 1 | 0.0 |",
        "| 2 | 100 | 38%, 62% | 90 | 0.9 |",
    ]

"""What a long fold tells of itself while people wait for it."""

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from streams.fold_progress import FoldProgress
from streams.metrics import Metrics


def test_a_long_fold_tells_how_far_it_is_and_how_long_it_takes() -> None:
    """Every few seconds: identities, the share of the log, the rest at the pace so far."""
    registry = CollectorRegistry()
    seconds = [100.0]
    gauge = Metrics(registry).fold_share
    progress = FoldProgress(3, 1_000, 2_000, gauge, clock=lambda: seconds[-1])

    def share() -> float | None:
        name, labels = "burnstream_streams_fold_share", {"partition": "3"}
        return registry.get_sample_value(name, labels)

    assert share() == 0
    with capture_logs() as told:
        for after, offset in ((1, 1_100), (4, 1_250), (5, 1_300), (8, 1_500)):
            seconds.append(100.0 + after)
            progress.reach(offset, offset * 10)
    assert share() == 0.5
    progress.finish()

    assert share() == 1
    assert [(one["identities"], one["share"], one["seconds_left"]) for one in told] == [
        (12_500, 0.25, 12.0),
        (15_000, 0.5, 8.0),
    ]


def test_a_fold_of_nothing_is_finished() -> None:
    """An empty log has a share, too."""
    registry = CollectorRegistry()
    FoldProgress(0, 7, 7, Metrics(registry).fold_share).finish()

    assert registry.get_sample_value("burnstream_streams_fold_share", {"partition": "0"}) == 1

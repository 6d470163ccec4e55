"""What the processes' metrics say of them."""

import re
from pathlib import Path

from deploy.console import scrape
from deploy.console.scrape import read_page

REPOSITORY = Path(__file__).resolve().parents[3]

STREAMS_PAGE = """\
# TYPE burnstream_streams_lag gauge
burnstream_streams_lag{partition="3"} 0.0
burnstream_streams_lag{partition="1"} 12.0
# TYPE burnstream_streams_fold_share gauge
burnstream_streams_fold_share{partition="1"} 0.4
burnstream_streams_fold_share{partition="3"} 1.0
# TYPE burnstream_streams_stopped_by_dead_letters gauge
burnstream_streams_stopped_by_dead_letters 1.0
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 9.0e+07
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12.5
"""
GATEWAY_PAGE = """\
# TYPE burnstream_gateway_events_total counter
burnstream_gateway_events_total{outcome="accepted"} 41.0
burnstream_gateway_events_total{outcome="rejected"} 7.0
"""


def test_a_worker_tells_its_partitions_and_complaints() -> None:
    """Partitions by the gauge of its lag; what is not as usual is said, by partition."""
    seen = read_page("host:1", STREAMS_PAGE)

    assert seen is not None
    assert (seen.process, seen.partitions) == ("streams", (1, 3))
    assert set(seen.warnings) == {
        "held by dead letters",
        "partition 1: reading back what was rated",
    }
    assert (seen.memory_bytes, seen.cpu_seconds) == (90_000_000, 12.5)


def test_a_gateway_tells_what_it_accepted() -> None:
    """Of its events only those that were accepted."""
    seen = read_page("host:1", GATEWAY_PAGE)

    assert seen is not None
    assert (seen.process, seen.counts) == ("gateway", {"accepted": 41.0})


def test_somebody_elses_metrics_are_none_of_ours() -> None:
    """A page without a metric of a stage is left out; the console's own, too."""
    assert read_page("host:1", "# TYPE up gauge\nup 1.0\n") is None
    assert read_page("host:1", "burnstream_console_wrong_keys_total 1.0\n") is None


def test_every_metric_that_is_read_is_declared() -> None:
    """A metric renamed in a process would silently empty the page."""
    declared = set()
    for path in REPOSITORY.glob("*/metrics.py"):
        declared |= set(re.findall(r'"(burnstream_\w+)"', path.read_text()))
    read = {scrape.ACCEPTED, *scrape.PARTITION_GAUGES.values()}
    read |= {name for name, _, _ in scrape.COMPLAINTS}

    assert {name for name in read if not {name, name.removesuffix("_total")} & declared} == set()

"""Gauges by partition, and ages."""

from prometheus_client import CollectorRegistry, generate_latest

from deploy.runtime.partition_gauge import PartitionGauge, ages_seconds


def test_a_gauge_shows_the_partitions_owned_now_and_no_other() -> None:
    """What was given away disappears, what stays keeps its newest value."""
    registry = CollectorRegistry()
    gauge = PartitionGauge("lag", "Lag.", registry)
    gauge.show({0: 5, 1: 7})
    gauge.show({1: 8, 2: 0})
    lines = [line for line in generate_latest(registry).decode().splitlines() if line[0] != "#"]
    assert lines == ['lag{partition="1"} 8.0', 'lag{partition="2"} 0.0']


def test_an_age_counts_from_the_oldest_record_in_hand() -> None:
    """Without a record nothing waits; a clock behind the broker's makes no age below zero."""
    owned = dict.fromkeys((0, 1, 2))
    ages = ages_seconds(owned, {0: 90_000, 2: 120_000}, now_seconds=100.0)
    assert ages == {0: 10.0, 1: 0.0, 2: 0.0}

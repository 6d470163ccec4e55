"""A gauge by partition: of those that this worker owns now, whatever moment it is read at."""

from collections.abc import Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Gauge


class PartitionGauge:
    """Partitions that were given away disappear; the others are never missing meanwhile."""

    def __init__(
        self, name: str, documentation: str, registry: CollectorRegistry = REGISTRY
    ) -> None:
        self._gauge = Gauge(name, documentation, ["partition"], registry=registry)
        self._shown: set[int] = set()

    def show(self, values: Mapping[int, float]) -> None:
        """Show these partitions and no other."""
        for partition, value in values.items():
            self._gauge.labels(str(partition)).set(value)
        for partition in self._shown - values.keys():
            self._gauge.remove(str(partition))
        self._shown = set(values)


def ages_seconds(
    partitions: Mapping[int, object], oldest_ms: Mapping[int, int], now_seconds: float
) -> dict[int, float]:
    """Return how long the oldest record of each partition has waited; 0 where none is known.

    `oldest_ms`: broker times; `now_seconds`: since 1970, by a clock that may run behind theirs.
    """
    return {
        partition: max(0.0, now_seconds - oldest_ms[partition] / 1_000)
        if partition in oldest_ms
        else 0.0
        for partition in partitions
    }

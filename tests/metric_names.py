"""Which metrics there are, and which of them alerts and the dashboard ask for."""

import re
from collections.abc import Iterable

from prometheus_client import REGISTRY, CollectorRegistry, Metric

import deploy.console.metrics  # noqa: F401 -- registers its metrics
import gateway.metrics  # noqa: F401 -- likewise
import sinks.metrics  # noqa: F401 -- likewise
from deploy.local.servers import REPOSITORY
from streams.metrics import Metrics as StreamsMetrics

ALERTS = REPOSITORY / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = REPOSITORY / "deploy" / "grafana" / "dashboards" / "burnstream.json"

_SAMPLES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def asked_for() -> set[str]:
    """Names of series, as the alerts and the dashboard write them."""
    return {
        name
        for path in (ALERTS, DASHBOARD)
        for name in re.findall(r"\bburnstream_\w+", path.read_text())
    }


def series_of(families: Iterable[Metric]) -> set[str]:
    """Names of our series that some families stand for."""
    return {
        family.name + suffix
        for family in families
        if family.name.startswith("burnstream_")
        for suffix in _SAMPLES[family.type]
    }


def catalogue() -> set[str]:
    """Names of all series that the processes declare."""
    registry = CollectorRegistry()
    StreamsMetrics(registry)
    return series_of(REGISTRY.collect()) | series_of(registry.collect())

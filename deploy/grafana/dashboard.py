"""The Grafana dashboard in the order of the data's way; its JSON is made from here."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("dashboards") / "burnstream.json"
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
COLUMNS, WIDTH, HEIGHT = 3, 8, 8


@dataclass(frozen=True)
class Panel:
    """A chart: each query with the legend of its lines. `unit`: Grafana's name of it."""

    title: str
    queries: dict[str, str]  # legend -> PromQL
    unit: str = "short"
    bad_above: float | None = None


@dataclass(frozen=True)
class Row:
    """Charts about one thing."""

    title: str
    panels: list[Panel] = field(default_factory=list)


def rate(metric: str, by: str = "") -> str:
    """Return the query of a counter's rate per second, summed over workers."""
    return f"sum{f' by ({by}) ' if by else ''}(rate({metric}[$__rate_interval]))"


def quantile(share: float, metric: str, by: str = "") -> str:
    """Return the query of a histogram's quantile over all workers."""
    labels = f"le, {by}" if by else "le"
    return (
        f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket[$__rate_interval])))"
    )


def worst(metric: str, by: str = "partition") -> str:
    """Return the query of a gauge's highest value over workers."""
    return f"max by ({by}) ({metric})"


def spread(metric: str) -> dict[str, str]:
    """Return half of a histogram's values, and nearly all of them."""
    return {"p50": quantile(0.5, metric), "p99": quantile(0.99, metric)}


ROWS = [
    Row(
        "Is all well",
        [
            Panel(
                "Oldest event without a row",
                {"partition {{partition}}": worst("burnstream_sinks_oldest_unpaid_seconds")},
                "s",
                bad_above=120,
            ),
            Panel(
                "Events per second",
                {
                    "accepted": rate('burnstream_gateway_events_total{outcome="accepted"}'),
                    "rated": rate("burnstream_streams_events_total"),
                    "applied": rate("burnstream_sinks_events_total"),
                },
                "ops",
            ),
            Panel(
                "Contradictions in the ledger",
                {"{{code}}": worst("burnstream_sinks_audit_discrepancies", "code") + " > 0"},
                bad_above=0.5,
            ),
            Panel(
                "Services reached (1) or away (0)",
                {
                    "gateway: {{service}}": "min by (service) (burnstream_gateway_service_up)",
                    "streams: Kafka": "min(burnstream_streams_kafka_up)",
                    "sinks: Kafka": "min(burnstream_sinks_kafka_up)",
                    "sinks: Postgres": "min(burnstream_sinks_postgres_up)",
                },
            ),
            Panel(
                "Canary: hand-over to row",
                spread("burnstream_gateway_canary_seconds")
                | {"waits": "max(burnstream_gateway_canary_pending_seconds)"},
                "s",
                bad_above=60,
            ),
            Panel("Alerts", {"{{alertname}}": 'ALERTS{alertstate="firing"}'}),
        ],
    ),
    Row(
        "Gateway",
        [
            Panel(
                "Requests",
                {
                    "{{route}} {{status}}": rate(
                        "burnstream_gateway_requests_total", "route, status"
                    )
                },
                "reqps",
            ),
            Panel(
                "Latency, p99",
                {"{{route}}": quantile(0.99, "burnstream_gateway_request_seconds", "route")},
                "s",
            ),
            Panel(
                "Events by outcome (duplicates: advice)",
                {"{{outcome}}": rate("burnstream_gateway_events_total", "outcome")},
                "ops",
            ),
            Panel("Events of a request", spread("burnstream_gateway_batch_events")),
            Panel("Kafka's acknowledgement", spread("burnstream_gateway_produce_seconds"), "s"),
            Panel(
                "Refused",
                {
                    "not produced: {{cause}}": rate(
                        "burnstream_gateway_produce_failures_total", "cause"
                    ),
                    "rate-limited: {{bucket}}": rate(
                        "burnstream_gateway_rate_limited_total", "bucket"
                    ),
                },
                "ops",
            ),
            Panel(
                "Held bytes",
                {
                    "bodies": "sum(burnstream_gateway_body_bytes)",
                    "waiting for Kafka": "sum(burnstream_gateway_produce_buffer_bytes)",
                },
                "bytes",
            ),
            Panel(
                "API keys",
                {"{{result}}": rate("burnstream_gateway_key_lookups_total", "result")},
                "ops",
            ),
            Panel(
                "Outages begun",
                {"{{service}}": rate("burnstream_gateway_outages_total", "service")},
            ),
        ],
    ),
    Row(
        "usage.raw to usage.rated: streams",
        [
            Panel("Lag, records", {"partition {{partition}}": worst("burnstream_streams_lag")}),
            Panel(
                "Lag, age of the oldest in hand",
                {"partition {{partition}}": worst("burnstream_streams_lag_seconds")},
                "s",
            ),
            Panel(
                "Events by verdict",
                {"{{verdict}}": rate("burnstream_streams_events_total", "verdict")},
                "ops",
            ),
            Panel("Events of a rated batch", spread("burnstream_streams_rated_batch_events")),
            Panel(
                "Records of a batch to its acknowledgement",
                spread("burnstream_streams_rated_batch_seconds"),
                "s",
            ),
            Panel(
                "Bytes of rated batches",
                {"written": rate("burnstream_streams_rated_bytes_total")},
                "Bps",
            ),
            Panel(
                "Recovery: share folded (below 1 a partition waits)",
                {"partition {{partition}}": "min by (partition) (burnstream_streams_fold_share)"},
                "percentunit",
            ),
            Panel("A fold", spread("burnstream_streams_fold_seconds"), "s"),
            Panel(
                "Identities remembered", {"all workers": "sum(burnstream_streams_seen_identities)"}
            ),
            Panel(
                "Odd things",
                {
                    "runs that did not follow": rate("burnstream_streams_jumps_total"),
                    "empty offsets": rate("burnstream_streams_empty_offsets_total"),
                    "batches ahead": rate("burnstream_streams_batches_ahead_total"),
                    "folded again": rate("burnstream_streams_folds_again_total"),
                    "burns not written": rate("burnstream_streams_burns_failures_total"),
                },
            ),
            Panel(
                "Held, and deaths at one record",
                {
                    "held by dead letters": "max(burnstream_streams_stopped_by_dead_letters)",
                    "deaths at {{partition}}:{{offset}}": worst(
                        "burnstream_streams_deaths_at_offset", "partition, offset"
                    ),
                },
                bad_above=0.5,
            ),
        ],
    ),
    Row(
        "usage.rated to Postgres: sinks",
        [
            Panel(
                "Lag, rated batches",
                {"partition {{partition}}": worst("burnstream_sinks_lag_records")},
            ),
            Panel(
                "Lag, age of the oldest in hand",
                {"partition {{partition}}": worst("burnstream_sinks_lag_seconds")},
                "s",
            ),
            Panel(
                "Offsets of usage.raw not in the ledger",
                {"partition {{partition}}": worst("burnstream_sinks_unpaid_records")},
            ),
            Panel(
                "Events by outcome",
                {"{{outcome}}": rate("burnstream_sinks_events_total", "outcome")},
                "ops",
            ),
            Panel("BEGIN to COMMIT", spread("burnstream_sinks_transaction_seconds"), "s"),
            Panel("Events of a transaction", spread("burnstream_sinks_transaction_events")),
            Panel(
                "Dead letters",
                {"{{reason}}": rate("burnstream_sinks_dead_letters_total", "reason")},
                "ops",
            ),
            Panel(
                "Tried again, by SQLSTATE",
                {"{{sqlstate}}": rate("burnstream_sinks_retries_total", "sqlstate")},
            ),
            Panel(
                "Passed over, replayed, ended",
                {
                    "beyond a hole": rate("burnstream_sinks_passed_over_batches_total"),
                    "applied before": rate("burnstream_sinks_replayed_batches_total"),
                    "sessions ended": rate("burnstream_sinks_terminated_backends_total"),
                    "gapped {{partition}}": worst("burnstream_sinks_partition_gapped") + " > 0",
                },
            ),
        ],
    ),
    Row(
        "Prices and the audit",
        [
            Panel(
                "Price revision",
                {
                    "published": "max(burnstream_prices_published_revision)",
                    "in force at {{instance}}": "burnstream_streams_price_revision",
                },
            ),
            Panel(
                "Age of the price book",
                {
                    "{{instance}}": (
                        "time() - (burnstream_streams_price_book_timestamp_seconds > 0)"
                    )
                },
                "s",
            ),
            Panel(
                "Letters that replayed themselves",
                {"letters": rate("burnstream_prices_replayed_letters_total")},
                "ops",
            ),
            Panel(
                "Proven until, seconds ago",
                {"all partitions": "time() - max(burnstream_sinks_audit_timestamp_seconds > 0)"},
                "s",
                bad_above=1800,
            ),
            Panel("A look of the audit", spread("burnstream_sinks_audit_seconds"), "s"),
            Panel(
                "Events proven",
                {"per second": rate("burnstream_sinks_audited_events_total")},
                "ops",
            ),
        ],
    ),
    Row(
        "Processes",
        [
            Panel(
                "CPU, cores",
                {"{{job}} {{instance}}": "rate(process_cpu_seconds_total[$__rate_interval])"},
            ),
            Panel("Memory", {"{{job}} {{instance}}": "process_resident_memory_bytes"}, "bytes"),
            Panel(
                "Rebalances",
                {
                    "streams": rate("burnstream_streams_rebalances_total"),
                    "sinks": rate("burnstream_sinks_rebalances_total"),
                },
            ),
            Panel(
                "Console: letters acted upon",
                {"{{outcome}}": rate("burnstream_console_dead_letters_total", "outcome")},
                "ops",
            ),
            Panel(
                "Console: wrong admin keys",
                {"per second": rate("burnstream_console_wrong_keys_total")},
                "ops",
            ),
        ],
    ),
]


def _panel(panel: Panel, number: int, at: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.bad_above is not None:
        steps.append({"color": "red", "value": panel.bad_above})
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "datasource": DATASOURCE,
        "gridPos": at,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {
                    "thresholdsStyle": {"mode": "off" if panel.bad_above is None else "line"}
                },
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": query, "legendFormat": legend}
            for place, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def dashboard() -> dict[str, Any]:
    """Return what Grafana reads."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row in ROWS:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": y, "w": COLUMNS * WIDTH, "h": 1},
            }
        )
        y += 1
        for place, panel in enumerate(row.panels):
            line, column = divmod(place, COLUMNS)
            at = {"x": WIDTH * column, "y": y + HEIGHT * line, "w": WIDTH, "h": HEIGHT}
            panels.append(_panel(panel, len(panels) + 1, at))
        y += HEIGHT * -(-len(row.panels) // COLUMNS)
    return {
        "uid": "burnstream",
        "title": "Burnstream",
        "tags": ["burnstream"],
        "timezone": "utc",
        "schemaVersion": 39,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "panels": panels,
    }


def text() -> str:
    """Return the dashboard's file."""
    return json.dumps(dashboard(), indent=1) + "\n"

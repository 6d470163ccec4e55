"""Alerts, their pages, their tests, the dashboard and the metrics that they ask for."""

import json
import re
from typing import Any

import pytest
import yaml

from deploy.grafana import dashboard
from deploy.local.servers import REPOSITORY
from tests.metric_names import ALERTS, asked_for, catalogue

RUNBOOKS = REPOSITORY / "docs" / "runbooks"
RULE_TESTS = ALERTS.with_name("alerts_test.yml")
# What the brief of the alerts names, and this house's own.
WANTED = {"GatewayErrors", "LagGrowing", "OldestEventTooOld", "DeadLetters", "AuditDiscrepancy"}
WANTED |= {"SinkStalled", "RebalanceStorm", "RestartLoop", "PriceBookStale", "CanaryLate"}
WANTED |= {"RedisAway", "PostgresAway", "KafkaAway"}


def rules() -> dict[str, dict[str, Any]]:
    """Each alert by its name."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def page_of(alert: str) -> str:
    """SinkStalled has the page sink-stalled.md."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", alert).lower() + ".md"


def test_everything_that_must_alert_does() -> None:
    """The list is not shortened by accident."""
    assert set(rules()) >= WANTED


def test_each_alert_has_its_page_and_each_page_its_alert() -> None:
    """The link leads to the page of the alert's own name."""
    pages = {path.name for path in RUNBOOKS.glob("*.md")} - {"README.md"}
    assert pages == {page_of(alert) for alert in rules()}
    for alert, rule in rules().items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{page_of(alert)}"


@pytest.mark.parametrize("alert", rules())
def test_a_page_says_what_it_means_where_to_look_what_to_do(alert: str) -> None:
    """Three headings with something below each; the list of pages names it, too."""
    text = (RUNBOOKS / page_of(alert)).read_text()
    sections = re.findall(r"^## (.+)\n\n(.+)", text, re.MULTILINE)
    assert [title for title, _ in sections] == ["What it means", "Look", "Do"]
    assert f"Alert `{alert}`." in text
    assert f"[{alert}]({page_of(alert)})" in (RUNBOOKS / "README.md").read_text()
    assert rules()[alert]["labels"]["severity"] in {"page", "ticket"}


@pytest.mark.parametrize("alert", rules())
def test_each_alert_is_tried_firing_and_silent(alert: str) -> None:
    """A rule that always fires, or never, would pass half a test."""
    tried = [
        bool(one["exp_alerts"])
        for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]
        for one in test["alert_rule_test"]
        if one["alertname"] == alert
    ]
    assert set(tried) == {True, False}


def test_every_metric_that_is_asked_for_exists() -> None:
    """A renamed metric would silence an alert and empty a chart."""
    assert len(asked_for()) > 50
    assert asked_for() - catalogue() == set()


def test_the_dashboard_shows_what_its_source_says() -> None:
    """The file is made by `python -m deploy.grafana`; nobody edits it by hand."""
    assert dashboard.FILE.read_text() == dashboard.text()


def test_the_dashboard_is_whole() -> None:
    """Ids differ, panels do not overlap, each has queries, rows follow the data."""
    panels = json.loads(dashboard.FILE.read_text())["panels"]
    assert len({one["id"] for one in panels}) == len(panels)
    places = [(one["gridPos"]["x"], one["gridPos"]["y"]) for one in panels]
    assert len(set(places)) == len(places)
    assert places == sorted(places, key=lambda place: (place[1], place[0]))
    assert all(one["targets"] for one in panels if one["type"] != "row")
    rows = [one["title"] for one in panels if one["type"] == "row"]
    assert rows[1:4] == [
        "Gateway",
        "usage.raw to usage.rated: streams",
        "usage.rated to Postgres: sinks",
    ]


def test_every_metric_is_charted_or_known_not_to_be() -> None:
    """A metric that nobody shows is dead weight; positions serve alerts and the console."""
    shown = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in asked_for()}
    declared = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in catalogue()}
    assert declared - shown == {
        "burnstream_gateway_canary_sent",
        "burnstream_gateway_dead_letters_replayed",
        "burnstream_gateway_producer_replacements",
        "burnstream_sinks_audit_failures",
        "burnstream_sinks_is_auditor",
        "burnstream_sinks_transactions",
        "burnstream_streams_dead_letters",
        "burnstream_streams_next_offset",
        "burnstream_streams_rated_batches",
    }

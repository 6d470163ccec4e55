"""What can be said of the audit without a database."""

import json

import pytest

from sinks.audit import load_rules
from sinks.audit_log import LogReport, count_events
from sinks.migrations import load_migrations


def test_every_rule_says_what_it_means() -> None:
    """A rule's first line is a sentence, its query can be bounded, its code is its file's name."""
    rules = load_rules()
    assert len({rule.code for rule in rules}) == len(rules) > 15
    for rule in rules:
        assert rule.message[0].isupper(), rule.code
        assert "ORDER BY" in rule.sql, f"{rule.code}: examples must not change from run to run"
        if rule.code != "OFFSET_DISAGREES":
            assert "%(since)s" in rule.sql, rule.code


def test_migrations_are_numbered() -> None:
    """Files are numbered from 1 without a gap and have distinct contents."""
    found = load_migrations()
    assert [one.version for one in found] == list(range(1, len(found) + 1))
    assert len({one.checksum for one in found}) == len(found)


@pytest.mark.parametrize(
    ("value", "events"),
    [
        (b'{"event_id": "x"}', 1),
        (b'{"events": []}', 0),
        (b'{"events": [{}, 1, null]}', 3),
        (b'{"events": "no list"}', 1),
        (b'{"metadata": {"events": [1, 2]}}', 1),
        (json.dumps({"events": [{}] * 1_000}).encode(), 1_000),
        (json.dumps({"events": [{}] * 1_001}).encode(), 1),
        (b"[]", 1),
        (b"17", 1),
        (b"NaN", 1),
        (b'{"events": [NaN, 1]}', 1),
        (b"", 1),
        (None, 1),
        (b"\xff", 1),
        (b"[" * 100_000, 1),
    ],
)
def test_events_are_counted_as_outcomes(value: bytes | None, events: int) -> None:
    """A record has an outcome per event of its list; one that is unreadable as a whole has one."""
    assert count_events(value) == events


def test_log_report_counts_all_and_keeps_a_few() -> None:
    """Of many places the first five are kept."""
    report = LogReport()
    for offset in range(9):
        report.add("LOG_EVENT_MISSING", offset=offset)
    (found,) = report.discrepancies
    assert (found.count, [one["offset"] for one in found.examples]) == (9, [0, 1, 2, 3, 4])

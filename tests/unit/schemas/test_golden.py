"""What a release wrote is read for ever, and what this one writes is pinned."""

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.topics import TOPIC_SPECS
from tests.unit.schemas.golden_records import FOLDER, TOPICS, Record, meaning, version

FILES = sorted(FOLDER.glob("*/*.json"))


def records_of(file: Path) -> list[Record]:
    found = json.loads(file.read_text())["records"]
    return [Record.from_json(one, offset) for offset, one in enumerate(found)]


def differences(expected: Any, found: Any, place: str = "") -> list[str]:
    """What of `expected` is not so in `found`; what was added since is no difference."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [
            line
            for name, value in expected.items()
            for line in differences(value, found.get(name), f"{place}.{name}")
        ]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return [
            line
            for number, (one, other) in enumerate(zip(expected, found, strict=True))
            for line in differences(one, other, f"{place}[{number}]")
        ]
    return [] if expected == found else [f"{place}: was {expected!r}, is {found!r}"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_release_is_read_as_it_was_meant(file: Path) -> None:
    """Whatever a release wrote means to this one what it meant then."""
    expected = json.loads(file.read_text())["means"]

    assert differences(expected, meaning(file.stem, records_of(file))) == []


@pytest.mark.parametrize("name", TOPICS)
def test_this_release_writes_its_golden_bytes(name: str) -> None:
    """A change of what is written is a decision: docs/upgrade.md says which, and how."""
    records_now, _ = TOPICS[name]
    kept = records_of(FOLDER / version() / f"{name}.json")

    assert [one.as_json() for one in records_now()] == [one.as_json() for one in kept]


def test_every_topic_and_every_release_is_kept() -> None:
    """Each topic has its file, of this version and of all before it."""
    kept = {
        folder.name: {file.stem for file in folder.glob("*.json")} for folder in FOLDER.iterdir()
    }

    assert version() in kept
    assert {spec.name for spec in TOPIC_SPECS} <= kept[version()] == TOPICS.keys()


def test_a_difference_is_seen() -> None:
    """The comparison allows what is added, and nothing else."""
    assert differences({"a": [1]}, {"a": [1], "b": 2}) == []
    assert differences({"a": [1]}, {"a": [2]}) == [".a[0]: was 1, is 2"]
    assert differences({"a": [1]}, {"a": [1, 2]}) != []
    assert differences({"a": 1}, {}) == [".a: was 1, is None"]

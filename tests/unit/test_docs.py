"""Pages and the code say the same."""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from schemas.dead_letter import Reason
from schemas.topics import TOPIC_SPECS

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("tests/*.md")]
)
SETTINGS_MODULES = (
    "deploy.runtime.settings",
    "deploy.local.settings",
    "gateway.settings",
    "streams.settings",
    "sinks.settings",
    "deploy.console.settings",
)


def _anchors(page: Path) -> set[str]:
    """Anchors of a page, as the usual renderers make them of its headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link of a page to a file or a heading finds it."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        if not found.exists() or (anchor and anchor not in _anchors(found)):
            broken.append(target)

    assert broken == []


def _settings() -> Iterator[tuple[str, FieldInfo]]:
    """Yield (variable, field) of every settings class."""
    for module_name in SETTINGS_MODULES:
        module = importlib.import_module(module_name)
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, BaseSettings) and kind.__module__ == module_name:
                for name, field in kind.model_fields.items():
                    yield name.upper(), field


def _default_text(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    return "" if default in {None, ()} else str(default)


def test_the_configuration_table_is_complete() -> None:
    """README's table has a row for every variable, with its default, and none besides."""
    text = (REPOSITORY / "README.md").read_text()
    section = text.split("## Configuration", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \|", section, re.MULTILINE)
    listed = {name: default.strip().strip("`") for name, default in rows}
    # A process may have another default than the table's shared row: the row then says so.
    expected: dict[str, set[str]] = {}
    for name, field in _settings():
        expected.setdefault(name, set()).add(_default_text(field))

    assert listed.keys() == expected.keys()
    assert {name: listed[name] for name in listed if listed[name] not in expected[name]} == {}


def test_the_example_environment_is_complete() -> None:
    """`.env.example` lists every variable, each as a comment that shows the default."""
    text = (REPOSITORY / ".env.example").read_text()
    listed = set(re.findall(r"^#([A-Z_]+)=", text, re.MULTILINE))

    assert listed == {name for name, _ in _settings()}
    assert re.findall(r"^[A-Z_]+=", text, re.MULTILINE) == []


def test_every_table_is_explained() -> None:
    """docs/tables.md names every table that the migrations make."""
    sql = "\n".join(
        path.read_text() for path in sorted(REPOSITORY.glob("sinks/sql/migrations/*.sql"))
    )
    made = set(re.findall(r'^CREATE TABLE "(\w+)"', sql, re.MULTILINE)) | {"SchemaMigration"}
    page = (REPOSITORY / "docs" / "tables.md").read_text()
    named = set(re.findall(r"^\|(?: \w+ \|)? `(\w+)` \|", page, re.MULTILINE))

    assert made - named == set()


def test_every_topic_and_reason_is_explained() -> None:
    """docs/operate.md names every topic and every reason of a dead letter."""
    text = (REPOSITORY / "docs" / "operate.md").read_text()
    names = [spec.name for spec in TOPIC_SPECS] + [str(reason) for reason in Reason]

    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_case_of_the_troubleshooting_is_tried() -> None:
    """What the guide says that one sees when something is wrong, a test has seen."""
    guide = (REPOSITORY / "docs" / "guide.md").read_text()
    section = guide.split("## Troubleshooting", 1)[1].split("\n## ", 1)[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    phrases = [phrase for cell in cells for phrase in re.findall(r"`([^`]+)`", cell)]
    tests = "\n".join(
        path.read_text()
        for ring in ("integration", "e2e")
        for path in sorted(REPOSITORY.glob(f"tests/{ring}/**/*.py"))
    )
    telling = {phrase: max(phrase.split("..."), key=len).strip() for phrase in phrases}

    assert len(phrases) > len(cells) > 10
    assert [phrase for phrase, words in telling.items() if words not in tests] == []


def test_metrics_of_the_docs_exist() -> None:
    """Every metric that a page names is one of a process."""
    code = "\n".join(path.read_text() for path in sorted(REPOSITORY.glob("*/metrics.py")))
    made = set(re.findall(r'"(burnstream_\w+)"', code))
    named = {
        name for page in PAGES for name in re.findall(r"`(burnstream_[a-z_]+)`", page.read_text())
    }

    assert {name for name in named if not {name, name.removesuffix("_total")} & made} == set()

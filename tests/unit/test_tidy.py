"""The rules of the house that no other tool checks. A rule that nothing checks decays."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from deploy.cli import app as command_line
from schemas.topics import TOPIC_SPECS, Topics

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = ("gateway", "streams", "sinks", "schemas", "deploy")
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500
SQL_IN_PYTHON_LINES_MAX = 12
SQL_COLUMNS_MAX = 120

# Names that say nothing and collect what has no place.
NAMES_BANNED = re.compile(r"^(utils?|helpers?|common|misc|managers?|base)$|_(utils?|helpers?)$")
# Money is counted in whole numbers: a float near it rounds where nobody looks.
MONEY_MODULES = (
    "schemas/pricing.py",
    "sinks/binary_columns.py",
    "sinks/wallets.py",
    "streams/totals.py",
)
# Pieced together, so that this file passes its own rule.
OPEN_WORK = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")
FOREIGN_HOSTS = re.compile(
    "|".join(("pypi" + r"\.org", "pythonhosted" + r"\.org", r"maven\.(apache\.)?" + "org"))
)
# A machine's own folders; what the tests make lies under pytest's temporary folder.
MACHINE_PATHS = re.compile(
    r"(?<![\w.])/(" + "|".join(("wo" + "rk", "ro" + "ot", "ho" + "me")) + r")/\w"
)


@cache
def tracked() -> tuple[Path, ...]:
    """Files of the repository, those not yet committed too, relative to its top."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    paths = (Path(name) for name in sorted(set(listed.split("\0"))) if name)
    return tuple(path for path in paths if (REPOSITORY / path).is_file())


@cache
def text_of(path: Path) -> str:
    return (REPOSITORY / path).read_text(errors="replace")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path))


def python_files(*folders: str) -> list[Path]:
    wanted = folders or (*SHIPPED, "tests")
    return [path for path in tracked() if path.suffix == ".py" and path.parts[0] in wanted]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_functions_fit_on_a_screen() -> None:
    """No function has more than 70 lines."""
    long = [
        f"{path}:{node.lineno} {node.name}"
        for path in python_files()
        for node in functions(path)
        if (node.end_lineno or node.lineno) - node.lineno >= FUNCTION_LINES_MAX
    ]

    assert long == []


def test_files_have_one_subject() -> None:
    """No file of code has more than 500 lines."""
    long = [
        str(path)
        for path in tracked()
        if path.suffix in {".py", ".sql"}
        and path.name != "schema.sql"  # a tool writes it
        and text_of(path).count("\n") > FILE_LINES_MAX
    ]

    assert long == []


def test_lines_of_sql_fit() -> None:
    """Lines of SQL stay within 120 columns (ruff sees to Python's)."""
    wide = [
        f"{path}:{number}"
        for path in tracked()
        # A tool writes schema.sql; the first line of an audit's rule is a sentence for its report.
        if path.suffix == ".sql" and path.name != "schema.sql"
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if len(line) > SQL_COLUMNS_MAX and not (path.parent.name == "audit" and number == 1)
    ]

    assert wide == []


def test_names_say_something() -> None:
    """No file and no folder has a name that would collect anything."""
    banned = [
        str(path)
        for path in tracked()
        if any(NAMES_BANNED.search(part.split(".")[0]) for part in path.parts)
    ]

    assert banned == []


def test_open_work_is_an_issue() -> None:
    """No comment postpones work."""
    found = [
        f"{path}:{number}"
        for path in tracked()
        if path.suffix in {".py", ".sql", ".md", ".yml", ".yaml", ".toml"}
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if OPEN_WORK.search(line)
    ]

    assert found == []


def test_no_host_or_machine_is_written_down() -> None:
    """No package registry's host and no machine's own folder stands in a file."""
    found = [
        f"{path}:{number}"
        for path in tracked()
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if FOREIGN_HOSTS.search(line) or MACHINE_PATHS.search(line)
    ]

    assert found == []


@pytest.mark.parametrize("module", MONEY_MODULES)
def test_no_float_near_money(module: str) -> None:
    """The modules that decide about money make no float."""
    makes_float = [
        node.lineno
        for node in ast.walk(tree_of(Path(module)))
        if (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "float"
        )
    ]

    assert makes_float == []


def _sleeps(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr != "sleep" or not isinstance(node.func.value, ast.Name):
            continue
        is_long = not (
            node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, int | float)
            and node.args[0].value < 1
        )
        if node.func.value.id == "time" or is_long:
            yield f"{path}:{node.lineno}"


def test_tests_wait_for_conditions() -> None:
    """No test sleeps for a time it hopes is enough; tests/waiting.py is the one place to wait."""
    # Measurements and the schedule of kills are made of time itself.
    exempt = {"tests/waiting.py", "tests/crash/nemesis.py", "tests/crash/workload.py"}
    exempt.add("tests/crash/kafka_door.py")  # It waits between two tries, as producers do.
    sleeping = [
        place
        for path in python_files("tests")
        if str(path) not in exempt and "benchmarks" not in path.parts
        for place in _sleeps(path)
    ]

    assert sleeping == []


def test_every_test_says_what_it_shows() -> None:
    """Every test function has a docstring: the behaviour in one sentence."""
    silent = [
        f"{path}:{node.lineno} {node.name}"
        for path in python_files("tests")
        if path.name.startswith("test_")
        for node in functions(path)
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]

    assert silent == []


def test_decisions_are_numbered_without_gaps() -> None:
    """ADRs count 0001, 0002, ... and each says what it decides, why, and what holds it."""
    pages = [path for path in tracked() if path.match("docs/adr/[0-9]*.md")]
    numbers = [int(path.name[:4]) for path in pages]
    sections = ("## Context", "## Decision", "## Consequences", "## Enforced by")
    incomplete = [
        f"{path}: {section}"
        for path in pages
        for section in sections
        if f"\n{section}\n" not in text_of(path)
    ]

    assert numbers == list(range(1, len(pages) + 1))
    assert incomplete == []


def test_every_topic_is_used() -> None:
    """Each topic has a name in `Topics` that some process reads or writes by."""
    names = {spec.name: spec.name.removeprefix("usage.") for spec in TOPIC_SPECS}
    code = "\n".join(text_of(path) for path in python_files("gateway", "streams", "sinks"))
    unused = [topic for topic, name in names.items() if f"topics.{name}" not in code]

    assert all(getattr(Topics(), name) == topic for topic, name in names.items())
    assert unused == []


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


def test_sql_lives_in_sql_files() -> None:
    """Python holds no statement longer than a glance: those stand in sinks/sql."""
    statement = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|MERGE|COPY)\s")
    long = [
        f"{path}:{node.lineno}"
        for path in python_files(*SHIPPED)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str | bytes)
        and _text(node.value).count("\n") > SQL_IN_PYTHON_LINES_MAX
        and statement.match(_text(node.value))
    ]

    assert long == []


def _code_of_docs() -> Iterator[tuple[Path, str]]:
    """Yield the code spans and the lines of code blocks of every page."""
    for path in tracked():
        if path.suffix != ".md":
            continue
        text = text_of(path)
        for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            yield from ((path, line) for line in block.splitlines())
        prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        yield from ((path, span) for span in re.findall(r"`([^`\n]+)`", prose))


def test_make_targets_of_the_docs_exist() -> None:
    """Every `make target` that a page mentions is one."""
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", text_of(Path("Makefile")), re.MULTILINE))
    mentioned = {
        (str(path), match.group(1))
        for path, code in _code_of_docs()
        if (match := re.match(r"(?:\$ )?make ([a-z][a-z0-9-]*)", code))
    }

    assert mentioned
    assert {one for one in mentioned if one[1] not in targets} == set()


def _does_command_exist(words: list[str]) -> bool:
    command: Any = typer.main.get_command(command_line)
    for word in words:
        if not hasattr(command, "commands"):
            return True  # What follows are arguments.
        if word not in command.commands:
            return False
        command = command.commands[word]
    return True


def test_commands_of_the_docs_exist() -> None:
    """Every `burnstream command` that a page mentions is one."""
    unknown = {
        (str(path), code)
        for path, code in _code_of_docs()
        if (match := re.match(r"(?:\$ )?burnstream ([a-z][a-z -]*)", code))
        and not _does_command_exist(
            [word for word in match.group(1).split() if not word.startswith("-")]
        )
    }

    assert unknown == set()

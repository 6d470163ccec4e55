"""docs/guide.md, executed as it stands, against the real processes."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.e2e.guide import (
    ANY,
    Block,
    Expectation,
    Shell,
    difference,
    missing_log_lines,
    read_guide,
)
from tests.system import REPOSITORY, System
from tests.waiting import wait_until

GUIDE = REPOSITORY / "docs" / "guide.md"
ROWS_TIMEOUT_SECONDS = 30.0


@pytest.fixture
def shell_environment(system: System, tmp_path: Path) -> dict[str, str]:
    """What a reader's shell has: curl, and the addresses of this system."""
    folder = tmp_path / "bin"
    folder.mkdir()
    if shutil.which("curl") is None:
        script = f'#!/bin/sh\nexec {sys.executable} -S {Path(__file__).with_name("curl.py")} "$@"\n'
        (folder / "curl").write_text(script)
        (folder / "curl").chmod(0o755)
    return {
        **system.environment,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "GATEWAY": system.gateway_url,
    }


# With the default limits: step 7 waits for the end of the limiter's minute, as the guide says.
@pytest.mark.timeout(400)
def test_the_guide_comes_out_as_printed(system: System, shell_environment: dict[str, str]) -> None:
    """Every command of the guide gives the answer, the rows or the log lines below it."""
    system.start()
    with Shell(REPOSITORY, shell_environment) as shell:
        for block in read_guide(GUIDE.read_text()):
            _play(block, shell, system)
    system.require_all_running()


def _play(block: Block, shell: Shell, system: System) -> None:
    where = f"docs/guide.md:{block.line} ({block.heading})"
    for expectation in (e for e in block.expectations if e.kind == "log"):
        _require_log_lines(where, expectation, system)
    printed = [e for e in block.expectations if e.kind != "log"]
    if block.command is None:
        return
    command = block.command
    found: list[str | None] = []

    def is_as_printed() -> bool:
        system.require_all_running()
        output = shell.run(command)
        found[:] = [difference(expectation, output) for expectation in printed]
        return not any(found)

    try:
        # Rows come when the pipeline has done its work; everything else is as printed at once.
        wait_until(is_as_printed, ROWS_TIMEOUT_SECONDS if block.is_query else 0.0, where)
    except (AssertionError, TimeoutError) as error:
        raise AssertionError(f"{where}: {error}: {found}") from None


def _require_log_lines(where: str, expectation: Expectation, system: System) -> None:
    def are_there() -> bool:
        records = [record for worker in system.workers for record in worker.log_records]
        return not missing_log_lines(expectation, records)

    wait_until(are_there, ROWS_TIMEOUT_SECONDS, f"{where}: {expectation.text}")


def test_the_guide_has_every_step() -> None:
    """The numbering of the original guide is kept, so a reader finds each of its steps."""
    text = GUIDE.read_text()
    steps_of_section = {1: 3, 2: 4, 3: 2, 4: 4, 5: 2, 6: 3, 7: 2, 8: 3}
    steps = [f"{s}.{n}" for s, count in steps_of_section.items() for n in range(1, count + 1)]

    missing = [step for step in steps if f"\n### {step} " not in text]

    assert missing == []


@pytest.mark.parametrize(
    ("kind", "printed", "output", "is_same"),
    [
        ("json", '{"a": 1}', '{"a": 1}\n202', True),
        ("json", '{"a": 1}', '{"a": 2}\n202', False),
        ("json", '{"a": 1}', '{"a": 1, "b": 2}\n202', False),
        ("json", '{"a": 1}', '{"a": 1}\n200', False),
        ("json", '{"a": "batch_..."}', '{"a": "batch_x"}\n202', True),
        ("json", '{"a": "batch_..."}', '{"a": null}\n202', False),
        ("text", " a | b\n---+---\n 1 | ...\n(1 row)", "a  | b\n----+---\n 1 |  x\n(1 row)", True),
        ("text", " a | b\n---+---\n 1 | ...\n(1 row)", "a  | b\n----+---\n 2 |  x\n(1 row)", False),
        ("text", f"a\n---\n {ANY}\n(2 rows)", "a\n---\n1\n2\n(2 rows)", True),
        ("text", f"a\n---\n {ANY}\n(2 rows)", "a\n---\n1\n(1 row)", False),
    ],
)
def test_a_deviation_from_the_guide_is_seen(
    kind: str, printed: str, output: str, is_same: bool
) -> None:
    """The comparison lets pass what differs each time, and nothing else."""
    status = 202 if kind == "json" else None

    found = difference(Expectation(kind, printed, status, 1), output)

    assert (found is None) == is_same

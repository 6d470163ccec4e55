"""What all commands share: examples, JSON, completion, exit codes, bars, bugs in a line."""

import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from deploy import cli
from deploy.runtime import progress_bar
from deploy.runtime.exit import ExitCode

REPOSITORY = Path(__file__).resolve().parents[3]
# psql has options of its own, `--csv` among them.
WITHOUT_JSON = {"psql"}


def _commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
        elif not command.hidden:
            yield (*path, name), command


ALL = dict(_commands(typer.main.get_command(cli.app)))


def _examples(command: Any) -> list[str]:
    return re.findall(r"^\$ (.*)$", command.epilog or "", re.MULTILINE)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_has_examples_that_are_taken(path: tuple[str, ...]) -> None:
    """Each command's help shows lines to copy, and the command takes the arguments of each."""
    found = _examples(ALL[path])

    assert found
    for line in found:
        stages = [shlex.split(stage, comments=True) for stage in line.split(" | ")]
        words = next(one for one in stages if "burnstream" in one)
        arguments = words[words.index("burnstream") + 1 :]
        assert tuple(arguments[: len(path)]) == path
        ALL[path].make_context("burnstream", arguments[len(path) :])


@pytest.mark.parametrize("path", [p for p in ALL if p[0] not in WITHOUT_JSON], ids=" ".join)
def test_every_command_prints_json_when_asked(path: tuple[str, ...]) -> None:
    """`--json` is an option of each."""
    assert any("--json" in parameter.opts for parameter in ALL[path].params)


def _complete(*words: str) -> list[str]:
    """What Tab offers in bash, by the script that is printed for it."""
    # The function that the script defines is called as bash calls it.
    program = (
        f'PATH="{Path(sys.executable).parent}:$PATH"\n'
        'eval "$(_BURNSTREAM_COMPLETE=source_bash burnstream)"\n'
        f"COMP_WORDS=(burnstream {shlex.join(words)}) COMP_CWORD={len(words)}\n"
        "_burnstream_completion burnstream\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    return done.stdout.split()


def test_completion_completes_values_of_commands_options() -> None:
    """The script that is printed for bash works in bash."""
    assert _complete("dead-letters", "list", "--kind", "UNP") == ["UNPRICED"]


def test_completion_is_printed() -> None:
    """`--show-completion` prints the script of the shell that asks."""
    command = f'"{sys.executable}" -m deploy.cli --show-completion; true'
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )

    assert "complete -o default -F" in done.stdout


def test_exit_codes_are_in_the_help_and_in_the_docs() -> None:
    """`--help` and docs/operate.md list the codes that there are, with what each means."""
    page = (REPOSITORY / "docs" / "operate.md").read_text()
    section = page.split("### Exit codes", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", section, re.MULTILINE)
    known = [(str(int(code)), code.meaning) for code in ExitCode]

    assert [(code, meaning.strip()) for code, meaning in rows] == known
    assert all(meaning in (cli.app.info.epilog or "") for _, meaning in known)


def test_a_bug_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, unless it is asked for; exit code 70."""

    def broken(**_: object) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(cli, "app", broken)
    for level, lines in (("INFO", 1), ("DEBUG", 2)):
        monkeypatch.setenv("LOG_LEVEL", level)
        with pytest.raises(SystemExit) as ended:
            cli.main()

        said = capsys.readouterr().err
        assert ended.value.code == 70
        assert "burnstream: a bug: ZeroDivisionError: by zero; run it again with" in said
        assert (said.count("\n") == 1) is (lines == 1)


def test_long_work_says_how_far_it_is_in_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal there is a line now and then; quick work says nothing."""
    assert list(progress_bar.with_progress("letters", "abc", 3)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""

    monkeypatch.setattr(progress_bar, "LINE_INTERVAL_SECONDS", 0.0)
    list(progress_bar.with_progress("letters", range(1200), 1200))

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "letters: 0 of 1,200"
    assert lines[-1] == "letters: 1,200 of 1,200"


def test_long_work_shows_a_bar_on_a_terminal() -> None:
    """The bar is drawn on the terminal's stderr and taken away; stdout holds the result alone."""
    program = (
        "from deploy.runtime.progress_bar import with_progress\n"
        "print(sum(with_progress('letters', range(3), 3)))"
    )
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=theirs,
        cwd=REPOSITORY,
        env=os.environ | {"TERM": "xterm"},
        check=True,
    )
    os.close(theirs)
    drawn = os.read(ours, 100_000).decode()
    os.close(ours)

    assert done.stdout == b"3\n"
    assert "letters" in drawn
    assert "3/3" in drawn

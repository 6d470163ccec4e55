"""Reads docs/guide.md as a program: its `bash` blocks, and what is printed below each of them.

`json`  an HTTP answer; the status stands in brackets above it. `...` in a string is any text.
`text`  the output, compared cell by cell; `...` in a cell is any text, a line `...` any lines.
`log`   lines of the processes' logs: the event and its fields.
Blocks in another language (`sh`) are for the reader's terminal.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ANY = "..."
# Numbers that differ each time; JSON has no way of saying so.
VOLATILE_NUMBERS = {"processing_time_ms"}
_FENCE = re.compile(r"^```(\w+)$(.*?)^```$", re.MULTILINE | re.DOTALL)
_STATUS = re.compile(r"\((\d{3})\)")
_HEADING = re.compile(r"^#{2,3} (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Expectation:
    """What stands below a command."""

    kind: str
    text: str
    status: int | None
    line: int


@dataclass
class Block:
    """A command of the guide with what is expected of it. Without a command: log lines only."""

    heading: str
    line: int
    command: str | None
    expectations: list[Expectation] = field(default_factory=list)

    @property
    def is_query(self) -> bool:
        """Whether it only looks, so that it may be repeated until the rows are there."""
        command = self.command or ""
        return "INSERT" not in command and "POST" not in command and "[1-" not in command


def read_guide(text: str) -> Iterator[Block]:
    """Yield the blocks of the guide in order."""
    block: Block | None = None
    for match in _FENCE.finditer(text):
        language, body = match.group(1), match.group(2).strip("\n")
        line = text.count("\n", 0, match.start()) + 1
        heading = _HEADING.findall(text, 0, match.start())[-1]
        if language == "bash":
            if block is not None:
                yield block
            block = Block(heading, line, body)
        elif language in {"json", "text", "log"}:
            if block is None or (language == "log" and block.heading != heading):
                if block is not None:
                    yield block
                block = Block(heading, line, None)
            lead = text[: match.start()].rstrip().rsplit("\n", 1)[-1]
            found = _STATUS.search(lead)
            status = int(found.group(1)) if found else None
            block.expectations.append(Expectation(language, body, status, line))
    if block is not None:
        yield block


class Shell:
    """One bash in which all blocks run, as the reader's does."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
        )

    def run(self, command: str) -> str:
        """Run a block and return what it printed; its exit status must be 0."""
        if self._bash.stdin is None or self._bash.stdout is None:
            raise AssertionError("a shell has pipes")
        # stdin is the shell's program: what a command reads of it would be lost to us.
        script = f"{{\n{command}\n}}\nprintf '\\n\\001%s\\n' $?\n"
        self._bash.stdin.write(script.encode())
        self._bash.stdin.flush()
        lines: list[str] = []
        for raw in self._bash.stdout:
            line = raw.decode()
            if line.startswith("\1"):
                output = "".join(lines).strip("\n")
                if int(line[1:]) != 0:
                    raise AssertionError(f"exit status {line[1:].strip()}: {output}")
                return output
            lines.append(line)
        raise AssertionError(f"the shell ended: {''.join(lines)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bash.stdin is not None:
            self._bash.stdin.close()
        self._bash.wait(30)
        if self._bash.stdout is not None:
            self._bash.stdout.close()


def difference(expectation: Expectation, output: str) -> str | None:
    """Return how the output differs from what the guide prints, or None."""
    if expectation.kind == "json":
        return _json_difference(expectation, output)
    expected = [line for line in expectation.text.splitlines() if line.strip()]
    actual = [line for line in output.splitlines() if line.strip()]
    return None if _are_lines_like(expected, actual) else f"printed:\n{output}"


def _json_difference(expectation: Expectation, output: str) -> str | None:
    body, _, status = output.rpartition("\n")
    if expectation.status is not None and status.strip() != str(expectation.status):
        return f"status {status}, not {expectation.status}: {body}"
    try:
        answer = json.loads(body)
    except json.JSONDecodeError:
        return f"no JSON: {output}"
    return None if is_like(json.loads(expectation.text), answer) else f"answered: {body}"


def is_like(expected: Any, actual: Any, name: str = "") -> bool:
    """Whether a JSON value is as printed, up to what differs each time."""
    if name in VOLATILE_NUMBERS:
        return isinstance(actual, int | float) and not isinstance(actual, bool) and actual >= 0
    if isinstance(expected, dict):
        return (
            isinstance(actual, dict)
            and expected.keys() == actual.keys()
            and all(is_like(value, actual[key], key) for key, value in expected.items())
        )
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and len(expected) == len(actual)
            and all(map(is_like, expected, actual))
        )
    if isinstance(expected, str):
        return isinstance(actual, str) and _is_text_like(expected, actual)
    return bool(expected == actual) and type(expected) is type(actual)


def _is_text_like(expected: str, actual: str) -> bool:
    pattern = ".*".join(map(re.escape, expected.split(ANY)))
    return re.fullmatch(pattern, actual, re.DOTALL) is not None


def _are_lines_like(expected: list[str], actual: list[str]) -> bool:
    if not expected:
        return not actual
    if expected[0].strip() == ANY:
        return any(_are_lines_like(expected[1:], actual[skip:]) for skip in range(len(actual) + 1))
    return (
        bool(actual)
        and _is_row_like(expected[0], actual[0])
        and _are_lines_like(expected[1:], actual[1:])
    )


def _is_row_like(expected: str, actual: str) -> bool:
    if set(expected.strip()) <= set("-+"):  # The line below a header: its width is the data's.
        return set(actual.strip()) <= set("-+") and expected.count("+") == actual.count("+")
    cells = [cell.strip() for cell in expected.split("|")]
    found = [cell.strip() for cell in actual.split("|")]
    return len(cells) == len(found) and all(map(_is_text_like, cells, found))


_LOG_FIELD = re.compile(r" (\w+)=(\S+)")


def missing_log_lines(expectation: Expectation, records: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a `log` block that no record of the logs is like."""
    missing = []
    for line in expectation.text.splitlines():
        fields = dict(_LOG_FIELD.findall(line))
        event = _LOG_FIELD.sub("", line).strip()
        if not any(_is_record_like(event, fields, record) for record in records):
            missing.append(line)
    return missing


def _is_record_like(event: str, fields: dict[str, str], record: dict[str, Any]) -> bool:
    return _is_text_like(event, str(record.get("event"))) and all(
        name in record and _is_text_like(value, str(record[name])) for name, value in fields.items()
    )

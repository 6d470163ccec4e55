"""Runs the ledger's commands against the test's own servers."""

import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from sinks.commands import app


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def data(self) -> Any:
        """What it printed under --json."""
        return json.loads(self.stdout)


@dataclass(frozen=True)
class CommandLine:
    """The commands with one environment."""

    environment: dict[str, str]

    def run(self, *arguments: str) -> Outcome:
        """Run one command to its end."""
        result = CliRunner().invoke(app, list(arguments), env=self.environment)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    def succeed(self, *arguments: str) -> Any:
        """Run one command with --json, which must succeed, and return its data."""
        outcome = self.run(*arguments, "--json")
        assert outcome.exit_code == 0, outcome
        return outcome.data

"""Arguments of the gateway's commands; what they do to Postgres is in the integration ring."""

import re

import pytest
from typer.testing import CliRunner

from gateway.commands import app, new_api_key


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--id", "a b", "--name", "n", "--email", "e"], "--id 'a b'", id="space"),
        pytest.param(["--id", "", "--name", "n", "--email", "e"], "--id ''", id="empty"),
        pytest.param(
            ["--id", "a", "--name", "n", "--email", "e", "--tier", "gold"],
            "STARTER, GROWTH, ENTERPRISE",
            id="tier",
        ),
    ],
)
def test_wrong_argument_is_said_in_one_line(arguments: list[str], said: str) -> None:
    """Exit code 2, before anything is touched."""
    done = CliRunner().invoke(app, ["customer", "create", *arguments])

    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_unreachable_database_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the cause and the variable."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://admin:admin@127.0.0.1:1/none")

    done = CliRunner().invoke(app, ["key", "rotate", "cust"])

    assert done.exit_code == 69
    assert "DATABASE_URL" in done.stderr
    assert done.stderr.count("\n") == 1


def test_keys_have_the_documented_form() -> None:
    """A prefix that tells test from live, and 48 hexadecimal digits."""
    assert re.fullmatch(r"om_live_[0-9a-f]{48}", new_api_key(test=False))
    assert re.fullmatch(r"om_test_[0-9a-f]{48}", new_api_key(test=True))

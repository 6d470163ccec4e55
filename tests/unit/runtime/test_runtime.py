"""What every process has in common: settings, slots, ports for metrics, death."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.runtime.exit import ExitCode
from deploy.runtime.kafka import producer_options, reader_options
from deploy.runtime.settings import RuntimeSettings, load_settings
from deploy.runtime.state_slot import acquire_slot


def settings(**fields: object) -> RuntimeSettings:
    return RuntimeSettings.model_validate(fields)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "mysql://x/y"),
        ("REDIS_URL", "nonsense"),
        ("METRICS_PORT", "70000"),
        ("DEDUPE_WINDOW_HOURS", "soon"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_wrong_variable_stops_the_start_with_one_line(
    variable: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The line names the variable, what it was, and what it may be."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(SystemExit) as ended:
        load_settings(RuntimeSettings)

    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == ExitCode.USAGE
    assert line.startswith(f"{variable}='{value}': expected: ")


def test_topics_carry_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable moves all topics and groups of an installation."""
    monkeypatch.setenv("TOPIC_PREFIX", "a-")

    assert load_settings(RuntimeSettings).topics.raw == "a-usage.raw"


def test_two_workers_of_a_kind_hold_different_slots(tmp_path: Path) -> None:
    """One environment for all workers of a host; a freed slot is taken again."""
    first, second = acquire_slot(tmp_path, "streams"), acquire_slot(tmp_path, "streams")
    first.lock.close()
    third = acquire_slot(tmp_path, "streams")

    assert (first.number, second.number, third.number) == (0, 1, 0)
    second.lock.close()
    third.lock.close()


def test_producers_wait_for_all_replicas_and_readers_see_what_is_committed() -> None:
    """The options on which the guarantee stands are said, not left to defaults."""
    producer = producer_options(settings(), "test")
    reader = reader_options(settings(), "test")

    assert (producer["acks"], producer["enable_idempotence"]) == ("all", True)
    assert (reader["isolation_level"], reader["enable_auto_commit"]) == ("read_committed", False)


def test_metrics_take_the_next_free_port() -> None:
    """A second worker of one host is not refused."""
    program = (
        "import sys; from deploy.runtime.metrics_server import start_metrics_server as start;"
        "port = int(sys.argv[1]); assert start(port, 0) > port"
    )
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))  # noqa: S104 - where metrics are served
        taken.listen()

        done = subprocess.run(
            [sys.executable, "-c", program, str(taken.getsockname()[1])], check=False
        )

    assert done.returncode == 0


def test_death_runs_no_handler_and_says_why() -> None:
    """An orderly shutdown would commit what was not done."""
    program = (
        "import atexit; from deploy.runtime.exit import die;"
        "atexit.register(lambda: print('handler ran'));"
        "die('cannot go on', partition=3)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert done.returncode == ExitCode.BUG
    assert "cannot go on" in done.stdout
    assert "partition=3" in done.stdout
    assert "handler ran" not in done.stdout

"""The console's environment."""

from pathlib import Path

import pytest

from deploy.console.__main__ import main
from deploy.console.settings import ConsoleSettings, addresses_of
from deploy.runtime.exit import ExitCode
from deploy.runtime.settings import load_settings


def test_targets_are_hosts_with_ports_or_ranges() -> None:
    """Each port of a range is an address."""
    assert list(addresses_of("a:9101, b:9102-9104,")) == ["a:9101", "b:9102", "b:9103", "b:9104"]


@pytest.mark.parametrize("text", ["a", "a:", "a:0", "a:2-1", "a:1-70000", "a:1-400", "http://a:1"])
def test_wrong_targets_stop_the_start(
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """One line names the variable."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METRICS_TARGETS", text)
    with pytest.raises(SystemExit) as ended:
        load_settings(ConsoleSettings)

    assert ended.value.code == ExitCode.USAGE
    assert capsys.readouterr().err.startswith("METRICS_TARGETS=")


@pytest.mark.parametrize("text", ["", "a-secret", "ada:a-secret"])
def test_a_key_that_is_none_stops_the_start_and_is_not_shown(
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Without a key of enough characters nobody could enter, or anybody."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADMIN_API_KEY", text)
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err

    assert ended.value.code == ExitCode.USAGE
    assert said.startswith("ADMIN_API_KEY: ")
    assert said.count("\n") == 1
    assert "a-secret" not in said

"""The gateway's environment."""

from ipaddress import ip_network

import pytest

from deploy.runtime.settings import load_settings
from gateway.settings import GatewaySettings
from schemas.timestamps import TimestampPolicy


def test_trusted_proxies_are_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comma-separated list; a single address is a network of one."""
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8,127.0.0.1")

    assert load_settings(GatewaySettings).trusted_proxies == (
        ip_network("10.0.0.0/8"),
        ip_network("fd00::/8"),
        ip_network("127.0.0.1/32"),
    )


def test_wrong_value_names_variable_and_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2."""
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/99")

    with pytest.raises(SystemExit) as ended:
        load_settings(GatewaySettings)

    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "TRUSTED_PROXIES='10.0.0.0/99'" in line
    assert "networks such as" in line


def test_zero_is_no_limit_on_timestamps() -> None:
    """0 switches either side of the policy off."""
    settings = GatewaySettings(
        _env_file=None, timestamp_past_days_max=0, timestamp_future_seconds_max=0
    )

    assert settings.timestamp_policy == TimestampPolicy(None, None)

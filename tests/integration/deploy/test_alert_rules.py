"""The alert rules and the scrape configuration, judged by the real promtool."""

from tests.prometheus_server import promtool


def test_each_alert_waits_fires_and_ends() -> None:
    """Made-up series let every alert fire when it should, and not before or after."""
    done = promtool("test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_configuration() -> None:
    """The file of docker-compose.yml and the rules that it names are valid."""
    done = promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "alerts.yml" in done.stdout

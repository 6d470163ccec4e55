"""A real Prometheus over given addresses, and `promtool`: of the package `prometheus`."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from deploy.local.local_server import LocalServer
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.progress import Progress
from tests.metric_names import ALERTS

# Set where the package could be installed: there its absence is a failure.
REQUIRED_VARIABLE = "PROMETHEUS_REQUIRED"


def program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`; skips the test where there is none."""
    path = shutil.which(name)
    if path is None:
        if os.environ.get(REQUIRED_VARIABLE):
            pytest.fail(f"{name} is missing")
        pytest.skip(f"no {name} on this machine: install the package prometheus")
    return path


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool beside the rules."""
    return subprocess.run(
        [program("promtool"), *arguments],
        cwd=ALERTS.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def impatient(rules: str) -> str:
    """Return alert rules that do not wait before they fire."""
    return re.sub(r"^( +for:) .*$", r"\1 0s", rules, flags=re.MULTILINE)


class PrometheusServer(LocalServer):
    """Scrapes `targets` (job -> addresses) every second, and judges by the alerts that ship."""

    name = "Prometheus"
    variable = "none"

    def __init__(self, folder: Path, targets: Mapping[str, Sequence[str]]) -> None:
        super().__init__(folder, free_port())
        self._targets = targets

    def prepare(self, progress: Progress) -> None:
        """Write the configuration."""
        del progress
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "alerts.yml").write_text(impatient(ALERTS.read_text()))
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yml"],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(addresses)}]}
                for job, addresses in self._targets.items()
            ],
        }
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    def command(self) -> list[str]:
        """Program and arguments."""
        return [
            program("prometheus"),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
        ]

    def is_ready(self) -> bool:
        """Whether it answers queries."""
        try:
            with urlopen(f"http://{LOOPBACK}:{self.port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of the HTTP interface."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        with urlopen(f"http://{LOOPBACK}:{self.port}/api/v1/{path}{query}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression now. Raises HTTPError for one that is not valid."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        alerts = self.ask("alerts")["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

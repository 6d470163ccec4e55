import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Self
from urllib.request import Request, urlopen

import psutil
import pytest

from deploy.local import kafka_jars
from deploy.local.ports import free_port
from deploy.local.progress import Progress
from deploy.local.servers import DEFAULT_DATA_FOLDER, REPOSITORY
from tests.waiting import wait_until


class Run:
    """`burnstream run` in a folder of its own, as a user at a terminal sees it."""

    def __init__(self, folder: Path, port: int) -> None:
        self._log = folder / "run.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "deploy.cli", "run"],
                env=os.environ
                | {"STATE_DIR": str(folder), "PORT": str(port), "KAFKA_PORT": "0"}
                | {"POSTGRES_PORT": "0", "REDIS_PORT": "0", "CONSOLE_PORT": str(free_port())},
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def output(self) -> str:
        return self._log.read_text()

    def banner(self) -> str:
        """What is printed when all is ready."""

        def printed() -> str | None:
            assert self._process.poll() is None, self.output
            text = self.output
            return text if "Ctrl-C stops everything" in text else None

        return wait_until(printed, 90, "the banner of burnstream run") or ""

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self._process.pid).children(recursive=True)

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(60)


def curls(banner: str) -> tuple[str, str]:
    """The two commands to paste: one that sends an event, one that asks for it."""
    send, ask = re.findall(r"^curl (?:.*\\\n)*.*$", banner, re.MULTILINE)
    return send, ask


def console_status(banner: str, folder: Path) -> int:
    """What the console answers to the key that the banner points to."""
    address = re.findall(r"console +(\S+)", banner)[0]
    key = (folder / "admin-api-key").read_text().strip()
    request = Request(address, headers={"X-API-Key": key})  # noqa: S310 -- ours
    with urlopen(request, timeout=10) as answer:  # noqa: S310 -- ours
        return int(answer.status)


def paste(command: str) -> str:
    if shutil.which("curl") is None:
        stand_in = shlex.join([sys.executable, str(REPOSITORY / "tests" / "e2e" / "curl.py")])
        command = f'curl() {{ {stand_in} "$@"; }}\n{command}'
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True, timeout=30
    ).stdout


@pytest.mark.timeout(240)
def test_from_an_empty_folder_to_a_charged_event(tmp_path: Path) -> None:
    """The printed commands work as pasted; Ctrl-C leaves nothing; a second start keeps the data."""
    tmp_path.chmod(0o755)
    jars = kafka_jars.fetch(DEFAULT_DATA_FOLDER, Progress(quiet=True))
    (tmp_path / jars.name).symlink_to(jars)  # Fetching them again would show nothing new.
    port = free_port()
    with Run(tmp_path, port) as run:
        banner = run.banner()
        send, ask = curls(banner)
        assert '"accepted":1' in paste(send)
        wait_until(lambda: "charged" in paste(ask), 60, "the event is charged")
        assert console_status(banner, tmp_path) == HTTPStatus.OK
        started = run.children()
        assert run.interrupt() == 0
        assert psutil.wait_procs(started, timeout=10)[1] == []
    with Run(tmp_path, port) as run:
        send, _ = curls(run.banner())
        assert "charged" in paste(ask)  # With the key of the first start.
        assert '"accepted":1' in paste(send)
        assert run.interrupt() == 0

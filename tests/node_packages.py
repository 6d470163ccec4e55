"""Packages of npm that tests use, fetched once by their exact version."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from deploy.local.servers import REPOSITORY

VERSIONS = {"kafkajs": "2.2.4", "@asyncapi/specs": "6.11.1"}
FETCH_SECONDS = 90
_FOLDER = REPOSITORY / ".burnstream" / "node-packages"


@cache
def node_modules(package: str) -> Path:
    """Return the `node_modules` that hold a package; without npm or its registry skip the test."""
    folder = _FOLDER / package.replace("/", "+")
    found = folder / "node_modules"
    if not (found / package / "package.json").is_file():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("no npm on this machine")
        folder.mkdir(parents=True, exist_ok=True)
        named = f"{package}@{VERSIONS[package]}"
        options = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(
            [npm, "install", *options, "--prefix", str(folder), named],
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            pytest.skip(f"npm cannot fetch {named}")
    return found

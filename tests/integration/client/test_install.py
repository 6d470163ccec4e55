"""The client as somebody else's application has it: installed, beside nothing of ours."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.integration.client.scripted_gateway import scripted_gateway
from tests.system import REPOSITORY

USE = """
import sys
from burnstream_client import Client
with Client(sys.argv[1], "key", customer_id="cust-1") as client:
    client.track("API_CALL", "installed")
print(*sorted(name for name in sys.modules if name.split(".")[0] in {"gateway", "schemas"}))
"""


def run(folder: Path, *arguments: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=folder,
        env={"PATH": "", **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_tools(folder: Path) -> Path:
    """The setuptools of these tests alone, for a build that asks no registry."""
    folder.mkdir()
    for found in ("setuptools*", "_distutils_hack"):
        for package in Path(sysconfig.get_path("purelib")).glob(found):
            (folder / package.name).symlink_to(package)
    return folder


def test_it_is_installed_by_pip_and_used(tmp_path: Path) -> None:
    """A fresh environment takes it from its folder, with its types and no other package."""
    source, venv = tmp_path / "client", tmp_path / "venv"
    shutil.copytree(REPOSITORY / "gateway" / "client", source)
    tools = build_tools(tmp_path / "tools")
    run(tmp_path, sys.executable, "-m", "venv", venv)
    python = venv / "bin" / "python"

    install = (python, "-m", "pip", "install", "--no-index", "--no-build-isolation")
    run(tmp_path, *install, source, PYTHONPATH=str(tools))

    listed = run(tmp_path, python, "-m", "pip", "list", "--format=freeze").split()
    names = {line.split("==")[0] for line in listed}
    assert "burnstream-client" in names
    assert names <= {"burnstream-client", "pip", "setuptools"}
    assert len(list(venv.glob("lib/*/site-packages/burnstream_client/py.typed"))) == 1
    with scripted_gateway() as gateway:
        ours = run(tmp_path, python, "-c", USE, gateway.url)

        assert ours.strip() == ""
        (event,) = gateway.requests[0]
        assert event["feature_id"] == "installed"
        assert gateway.headers[0]["user-agent"].startswith("burnstream-client/0.1")

"""The files of Apache Kafka: pinned by SHA-256 in kafka-jars.lock, fetched as Maven artifacts."""

import hashlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from deploy.local.ports import CannotStart
from deploy.local.progress import Progress
from deploy.runtime.progress_bar import with_progress

LOCK_FILE = Path(__file__).with_name("kafka-jars.lock")
DOWNLOADS_AT_ONCE = 6
DOWNLOAD_ATTEMPTS = 3
DOWNLOAD_TIMEOUT_SECONDS = 60
SERVER_ARTIFACT = "kafka_2.13"


@dataclass(frozen=True)
class Jar:
    """One pinned artifact."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        """The name the file has in a Maven repository."""
        return f"{self.artifact}-{self.version}.jar"


def read_lock(text: str) -> list[Jar]:
    """Parse lines of `group:artifact:version sha256:hex`."""
    jars = []
    for line in text.splitlines():
        coordinate, fingerprint = line.split()
        group, artifact, version = coordinate.split(":")
        jars.append(Jar(group, artifact, version, fingerprint.removeprefix("sha256:")))
    return jars


def pinned_jars() -> list[Jar]:
    """The jars of the pinned Kafka."""
    return read_lock(LOCK_FILE.read_text())


def kafka_version(jars: list[Jar]) -> str:
    """The version of the Kafka that the jars make up."""
    return next(jar.version for jar in jars if jar.artifact == SERVER_ARTIFACT)


def jars_folder(software: Path) -> Path:
    """Where the jars of the pinned version lie under the software folder."""
    return software / f"kafka-{kafka_version(pinned_jars())}"


def fetch(software: Path, progress: Progress) -> Path:
    """The folder with every pinned jar of the broker, downloaded when missing.

    Raises:
        CannotStart: a file cannot be had, or is not the pinned one.
    """
    jars = pinned_jars()
    version = kafka_version(jars)
    return fetch_jars(f"Apache Kafka {version}", jars, software / f"kafka-{version}", progress)


def fetch_jars(name: str, jars: list[Jar], folder: Path, progress: Progress) -> Path:
    """The folder, with every jar in it; `name` is what they make up. Raises CannotStart."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [jar for jar in jars if not (folder / jar.filename).exists()]
    if missing:
        with (
            progress.step(f"download {name}, {len(missing)} files"),
            tempfile.TemporaryDirectory(dir=folder) as scratch,
            ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool,
        ):
            done = pool.map(lambda jar: _download(jar, Path(scratch), folder), missing)
            for _ in with_progress("download", done, len(missing)):
                pass
    return folder


def _download(jar: Jar, scratch: Path, folder: Path) -> None:
    import requests
    from jgo.maven import MavenContext

    problem = ""
    for attempt in range(DOWNLOAD_ATTEMPTS):
        # A scratch folder per attempt: jgo takes a half-written file of an earlier one for whole.
        cache = scratch / f"{jar.artifact}-{attempt}"
        maven = MavenContext(repo_cache=cache, timeout=DOWNLOAD_TIMEOUT_SECONDS)
        component = maven.project(jar.group, jar.artifact).at_version(jar.version)
        try:
            path = component.artifact().resolve()
        except (requests.RequestException, RuntimeError) as error:
            problem = str(error)
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256:
            path.rename(folder / jar.filename)  # So a file under its name is always whole.
            return
        problem = "the file differs from the one that is pinned"
    raise CannotStart(f"cannot download {jar.filename}: {problem}")

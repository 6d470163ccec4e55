"""The stream stage and its baselines: what does the whole work on the same records."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deploy.local.kafka_jars import fetch_jars, read_lock
from deploy.local.progress import Progress
from deploy.local.servers import DEFAULT_DATA_FOLDER
from schemas.topics import Topics
from tests.system import REPOSITORY

KAFKA_STREAMS = Path(__file__).with_name("kafka_streams")
PRICES_CSV = REPOSITORY / "sinks" / "sql" / "seed" / "provider_costs.csv"


class CannotCompete(Exception):  # noqa: N818 -- no error: the contender is left out, and that is said
    """Why a contender does not run on this machine."""


@dataclass(frozen=True, slots=True)
class Course:
    """What a contender reads and writes: one topic of raw records, four partitions."""

    bootstrap: str
    prefix: str
    folder: Path

    @property
    def topics(self) -> Topics:
        """Names of the topics of this course."""
        return Topics(self.prefix)


class Contender(Protocol):
    """Something that rates raw records exactly once."""

    name: str

    def output(self, course: Course) -> str:
        """Return the topic that it writes to."""

    def group(self, course: Course) -> str:
        """Return its consumer group."""

    def start(self, course: Course) -> subprocess.Popen[bytes]:
        """Start one worker. Raises CannotCompete."""


class Burnstream:
    """Our own stream stage, one worker."""

    name = "burnstream"

    def output(self, course: Course) -> str:
        """`usage.rated`, in rated batches."""
        return course.topics.rated

    def group(self, course: Course) -> str:
        """The group of the streams workers."""
        return course.topics.streams_group

    def start(self, course: Course) -> subprocess.Popen[bytes]:
        """Start `python -m streams` as it is started anywhere."""
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": course.bootstrap,
            "TOPIC_PREFIX": course.prefix,
            "STATE_DIR": str(course.folder / "state"),
            "METRICS_PORT": "0",
            "PYTHONPATH": str(REPOSITORY),
        }
        return _start([sys.executable, "-m", "streams"], course.folder, self.name, environment)


class KafkaStreams:
    """Kafka Streams, exactly-once v2, one thread: kafka_streams/UsageRating.java."""

    name = "kafka streams"

    def output(self, course: Course) -> str:
        """Return a topic of rated records, one for each raw record."""
        return f"{course.prefix}kafka-streams.rated"

    def group(self, course: Course) -> str:
        """The application's id."""
        return f"{course.prefix}kafka-streams"

    def start(self, course: Course) -> subprocess.Popen[bytes]:
        """Fetch the pinned jars, compile, run."""
        if shutil.which("javac") is None or shutil.which("java") is None:
            raise CannotCompete("no JDK on this machine")
        classpath = f"{self._compile()}{os.pathsep}{self._jars()}/*"
        arguments = [
            course.bootstrap,
            self.group(course),
            course.topics.raw,
            self.output(course),
            str(course.folder / "kafka-streams"),
            str(PRICES_CSV),
        ]
        command = ["java", "-cp", classpath, "UsageRating", *arguments]
        return _start(command, course.folder, "kafka-streams", {})

    def _jars(self) -> Path:
        jars = read_lock((KAFKA_STREAMS / "jars.lock").read_text())
        return fetch_jars(
            "Kafka Streams", jars, DEFAULT_DATA_FOLDER / "kafka-streams", Progress(quiet=False)
        )

    def _compile(self) -> Path:
        classes = DEFAULT_DATA_FOLDER / "kafka-streams-classes"
        source = KAFKA_STREAMS / "UsageRating.java"
        compiled = classes / "UsageRating.class"
        if not compiled.exists() or compiled.stat().st_mtime < source.stat().st_mtime:
            classes.mkdir(parents=True, exist_ok=True)
            command = ["javac", "-cp", f"{self._jars()}/*", "-d", str(classes), str(source)]
            subprocess.run(command, check=True)
        return classes


def _start(
    command: list[str], folder: Path, name: str, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, **environment},
        )

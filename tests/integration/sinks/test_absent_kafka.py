"""A worker that starts while Kafka is away: that is no bug of its own."""

from pathlib import Path

from deploy.local.ports import LOOPBACK, free_port
from tests.system import System
from tests.waiting import wait_until

TIMEOUT_SECONDS = 60.0


def test_a_sink_waits_for_kafka(tmp_path: Path, database_url: str) -> None:
    """It says so, goes on trying, and ends in order when asked to."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{free_port()}",
        "DATABASE_URL": database_url,
    }
    with System(tmp_path, environment) as system:
        system.start(gateways=0, streams=0, sinks=1)
        (sink,) = system.sinks

        def tries() -> int:
            system.require_all_running()
            return sum(record["event"] == "Waiting for Kafka" for record in sink.log_records)

        wait_until(lambda: tries() >= 2, TIMEOUT_SECONDS, "the sink tries again")

        assert sink.stop() == 0

"""What each process does with a record that only a later release can read."""

from dataclasses import dataclass

import orjson
import pytest

from deploy.runtime.exit import ExitCode
from schemas.topics import Topics
from tests.e2e.producers import event, produce, value_of
from tests.integration.operations.kafka_records import consume
from tests.system import System, Worker
from tests.waiting import wait_until

FORMAT_9 = ("format", b"9")
END_TIMEOUT_SECONDS = 60.0


@pytest.fixture
def environment() -> dict[str, str]:
    return {"PRICES_WAIT_SECONDS": "0.1"}


@dataclass(frozen=True)
class Newer:
    """A record of the next release. `topic`: a name of `Topics`."""

    topic: str
    key: bytes | None
    value: bytes
    more: tuple[tuple[str, bytes], ...] = ()


RAW = Newer("raw", b"cust-a", value_of(event("cust-a")))
RATED = Newer("rated", None, orjson.dumps({"format": 9}), (("fold", b"\x09 and what it likes"),))
BURNS = Newer("burns", orjson.dumps(["cust-a", "hour", "2026-01-01T00:00:00Z", 0]), b"{}")
PRICES = Newer("prices", b"revision", b"{}")
QUARANTINE = Newer("quarantine", b"0:0", b"{}")


def write(system: System, newer: Newer) -> None:
    """Write it to partition 0."""
    topic = getattr(Topics(system.environment["TOPIC_PREFIX"]), newer.topic)
    produce(
        system,
        lambda producer: producer.send_and_wait(
            topic, newer.value, key=newer.key, partition=0, headers=[FORMAT_9, *newer.more]
        ),
    )


def require_refusal(worker: Worker) -> None:
    """It ends by itself, and its last line names the format and the page."""
    wait_until(lambda: worker.exit_code is not None, END_TIMEOUT_SECONDS, f"{worker.name} ends")
    assert worker.exit_code == ExitCode.REFUSED, worker.last_words()
    last = [one["event"] for one in worker.log_records if "exit_code" in one][-1]
    assert "of format 9, this release reads up to" in last
    assert "docs/upgrade.md" in last


@pytest.mark.parametrize(
    ("module", "newer"),
    [
        pytest.param(module, newer, id=f"{module}-{newer.topic}")
        for module, newer in [
            ("streams", RAW),
            ("streams", RATED),
            ("streams", BURNS),
            ("streams", PRICES),
            ("streams", QUARANTINE),
            ("sinks", RATED),
            ("sinks", PRICES),
        ]
    ],
)
def test_a_record_of_a_later_release_is_refused_by_name(
    system: System, module: str, newer: Newer
) -> None:
    """The process ends, as often as it is started, and nothing behind the record is passed on."""
    write(system, newer)
    produce(
        system,
        lambda producer: producer.send_and_wait(
            Topics(system.environment["TOPIC_PREFIX"]).raw, value_of(event("cust-a")), partition=0
        ),
    )
    worker = Worker(module, 0, system.folder, system.environment)
    try:
        for _ in range(2):
            worker.start()
            require_refusal(worker)
    finally:
        worker.kill()

    topics = Topics(system.environment["TOPIC_PREFIX"])
    rated = consume(system.environment["KAFKA_BOOTSTRAP_SERVERS"], topics.rated, 0)
    assert len(rated) == (1 if newer is RATED else 0)


def test_a_foreign_producers_number_can_be_set_aside(system: System) -> None:
    """A record that says a later format for reasons of its own becomes a letter by a decision."""
    write(system, RAW)
    worker = Worker("streams", 0, system.folder, system.environment)
    try:
        worker.start()
        require_refusal(worker)
        system.burnstream("quarantine", "0", "0", "--reason", "theirs", "--by", "ann")
        worker.start()
        topics = Topics(system.environment["TOPIC_PREFIX"])
        bootstrap = system.environment["KAFKA_BOOTSTRAP_SERVERS"]
        rated = wait_until(
            lambda: consume(bootstrap, topics.rated, 0), END_TIMEOUT_SECONDS, "it is rated"
        )
    finally:
        worker.kill()

    assert b"QUARANTINED" in rated[0].value

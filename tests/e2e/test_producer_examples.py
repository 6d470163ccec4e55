"""The examples of docs/produce.md, run as they stand: each record is valid and in its partition.

What a machine cannot run is skipped by name.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka_jars import jars_folder
from deploy.local.servers import DEFAULT_DATA_FOLDER, REPOSITORY
from schemas.cloud_events import usage_event_id
from schemas.timestamps import TimestampPolicy
from schemas.topics import PARTITIONS_DEFAULT, Topics, partition_for_key
from streams.decode import decode_records
from tests.integration.operations.kafka_records import consume
from tests.node_packages import node_modules
from tests.system import System

RUN_SECONDS = 60
SECTION = (REPOSITORY / "docs" / "produce.md").read_text().split("### Examples", 1)[1]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
NAMES = ["python", "kcat", "kcat, a CloudEvent", "java", "node"]


def _need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"no {program} on this machine")
    return found


def _command(name: str, folder: Path, text: str) -> list[str]:
    """Write an example to a file and return how it is run."""
    if name == "python":
        (folder / "send.py").write_text(text)
        return [sys.executable, "send.py"]
    if name == "java":
        _need("javac")  # A runtime alone runs no source.
        (folder / "SendUsage.java").write_text(text)
        return [
            _need("java"),
            "-cp",
            f"{jars_folder(DEFAULT_DATA_FOLDER.resolve())}/*",
            "SendUsage.java",
        ]
    if name == "node":
        (folder / "send.js").write_text(text)
        (folder / "node_modules").symlink_to(node_modules("kafkajs"))
        return [_need("node"), "send.js"]
    _need("kcat")
    return ["bash", "-euo", "pipefail", "-c", text]


def _read_all(system: System) -> list[Any]:
    bootstrap = system.environment["KAFKA_BOOTSTRAP_SERVERS"]
    raw = Topics(system.environment["TOPIC_PREFIX"]).raw
    return [one for number in range(PARTITIONS_DEFAULT) for one in consume(bootstrap, raw, number)]


@pytest.mark.parametrize(("name", "block"), list(zip(NAMES, BLOCKS, strict=True)), ids=NAMES)
def test_an_example_sends_a_valid_event_to_the_partition_of_its_key(
    system: System, tmp_path: Path, name: str, block: tuple[str, str]
) -> None:
    """Run as printed, but for the address and the topic's prefix."""
    text = (
        block[1]
        .replace("127.0.0.1:9092", system.environment["KAFKA_BOOTSTRAP_SERVERS"])
        .replace("usage.raw", Topics(system.environment["TOPIC_PREFIX"]).raw)
    )
    done = subprocess.run(
        _command(name, tmp_path, text),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    [record] = _read_all(system)
    [decoded] = decode_records([record], TimestampPolicy(None, None))
    [event] = decoded.events
    assert isinstance(event, dict), event
    assert (record.key, event["customer_id"]) == (b"cust-demo", "cust-demo")
    assert record.partition == partition_for_key(b"cust-demo", PARTITIONS_DEFAULT)
    if name == "kcat, a CloudEvent":
        assert event["event_id"] == usage_event_id("/shops/berlin", "order 4711, line 2")


KEYS = [f"cust-{number}" for number in range(20)]


@pytest.mark.parametrize("partitioner", ["murmur2_random", "consistent_random"])
def test_what_librdkafka_does_with_a_key_is_as_said(system: System, partitioner: str) -> None:
    """With murmur2_random the partition is Java's for every key; by default it is another's."""
    raw = Topics(system.environment["TOPIC_PREFIX"]).raw
    bootstrap = system.environment["KAFKA_BOOTSTRAP_SERVERS"]
    lines = "".join(f"{key}\tvalue\n" for key in KEYS)
    options = ["-X", f"partitioner={partitioner}"] if partitioner != "consistent_random" else []
    subprocess.run(
        [_need("kcat"), "-P", "-b", bootstrap, "-t", raw, "-K", "\t", *options],
        input=lines,
        text=True,
        timeout=RUN_SECONDS,
        check=True,
    )
    found = {record.key: record.partition for record in _read_all(system)}
    same = [found[key.encode()] == partition_for_key(key.encode(), 4) for key in KEYS]
    assert PARTITIONS_DEFAULT == 4
    assert all(same) is (partitioner == "murmur2_random")

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.servers import REPOSITORY, LocalServers
from tests.waiting import wait_until


async def test_kafka_keeps_a_record_through_a_kill(
    local_servers: LocalServers, kafka_bootstrap: str, topic_prefix: str
) -> None:
    """A record that Kafka acknowledged is read after the broker was killed and started again."""
    topic = f"{topic_prefix}kept"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic, b"a record")
    assert local_servers.kafka is not None
    local_servers.kafka.kill()
    local_servers.kafka.start()
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka_bootstrap, auto_offset_reset="earliest"
    )
    async with consumer:
        record = await consumer.getone()
    assert record.value == b"a record"


async def test_kafka_makes_no_topic_by_itself(kafka_bootstrap: str, topic_prefix: str) -> None:
    """Asking for an unknown topic does not create it: `burnstream topics` alone does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    await admin.describe_topics([f"{topic_prefix}unknown"])
    topics = await admin.list_topics()
    await admin.close()
    assert f"{topic_prefix}unknown" not in topics


def test_postgres_asks_for_the_password(local_servers: LocalServers, database_url: str) -> None:
    """The guide's user gets in with the password over TCP, and not with another."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT current_user, current_setting('fsync')").fetchone()
    assert row == ("admin", "on")
    wrong = local_servers.database_url.replace("admin:admin@", "admin:wrong@")
    refusal = ""
    try:
        psycopg.connect(wrong).close()
    except psycopg.OperationalError as error:
        refusal = str(error)
    assert "password authentication failed" in refusal


def test_postgres_keeps_a_row_through_a_kill(
    local_servers: LocalServers, database_url: str
) -> None:
    """A committed row is there after Postgres was killed and started again."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        assert local_servers.postgres is not None
        local_servers.postgres.kill()
    local_servers.postgres.start()
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def test_databases_of_tests_are_migrated_and_apart(database_url: str, redis_url: str) -> None:
    """Each test gets the schema, no rows, and a Redis database that is empty."""
    with psycopg.connect(database_url) as connection:
        assert connection.execute('SELECT count(*) FROM "Customer"').fetchone() == (0,)
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_psql_is_bundled(local_servers: LocalServers, database_url: str) -> None:
    """The psql of the guide's steps needs nothing of the machine."""
    answer = subprocess.run(
        [local_servers.psql, database_url, "-Atc", "SELECT 40 + 2"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "42"


def test_servers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """No Redis, and by the same tether no other server, outlives a parent killed with -9."""
    program = (
        "import sys; from pathlib import Path; from deploy.local.servers import LocalServers\n"
        "with LocalServers(Path(sys.argv[1]), redis_port=0, kafka_bootstrap='x:1',"
        " database_url='postgresql://x') as s:\n"
        "    print(s.redis.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: not _runs(pid), 10, "Redis ends after its parent")


def test_a_taken_port_is_said_in_one_line(kafka_bootstrap: str, tmp_path: Path) -> None:
    """`up` on a taken port ends with one line that names the port, the server, the variable."""
    port = kafka_bootstrap.rpartition(":")[2]
    outcome = subprocess.run(
        [sys.executable, "-m", "deploy.local", "up"],
        env=os.environ
        | {"STATE_DIR": str(tmp_path), "KAFKA_PORT": port, "POSTGRES_PORT": "0", "REDIS_PORT": "0"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    expected = (
        f"burnstream: port {port} (Kafka) is already in use: stop what runs there or set KAFKA_PORT"
    )
    assert outcome.stderr.strip().splitlines() == [expected]
    assert outcome.returncode == 2


def test_postgres_never_runs_as_root(tmp_path: Path) -> None:
    """Started by root with data in a folder closed to others, it runs as somebody else."""
    tmp_path.chmod(0o700)
    with LocalServers(
        tmp_path, postgres_port=0, kafka_bootstrap="kafka.example:1", redis_url="redis://x"
    ) as servers:
        assert servers.postgres is not None
        assert servers.postgres.pid is not None
        assert psutil.Process(servers.postgres.pid).uids().effective != 0
        with psycopg.connect(servers.database_url) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("admin",)


def test_up_psql_down(tmp_path: Path) -> None:
    """`up` leaves servers in the background that `psql` finds; a second `up` uses them; `down`."""

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy.local", *arguments],
            env=os.environ
            | {"STATE_DIR": str(tmp_path), "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:1"}
            | {"POSTGRES_PORT": "0", "REDIS_PORT": "0"},
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    try:
        assert "Postgres  postgresql://admin:admin@127.0.0.1:" in command("up").stdout
        assert command("psql", "-Atc", "SELECT current_database()").stdout == "monetization\n"
        assert "already up" in command("up").stdout
    finally:
        stopped = command("down")
    assert stopped.stdout.startswith("servers stopped")
    assert command("down").stdout == "no servers are up\n"


def _runs(pid: int) -> bool:
    """Whether the process is there and not just waiting for its parent to notice its end."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

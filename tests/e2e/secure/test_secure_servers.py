"""TLS, passwords and ACLs all the way: what docs/security.md lists is enough, and is needed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from pydantic import SecretStr

from deploy.local.progress import Progress
from deploy.local.redis_server import redis_binary
from deploy.local.servers import DEFAULT_DATA_FOLDER
from deploy.runtime.kafka import producer_options
from deploy.runtime.kafka_security import SaslMechanism
from deploy.runtime.settings import RuntimeSettings
from sinks.topic_admin import admin_client
from tests.e2e.http_door import post
from tests.e2e.ledger import Ledger
from tests.e2e.producers import event
from tests.e2e.secure.acls import give, listed_rights
from tests.e2e.secure.certificates import Certificates
from tests.e2e.secure.servers import ADMIN, SecureKafka, SecureRedis, password_of
from tests.system import System, Worker

PROCESSES = ("sinks", "streams", "gateway")


@dataclass(frozen=True)
class SecureSystem:
    """The servers' addresses by user."""

    folder: Path
    addresses: dict[str, str]
    certified_kafka: str
    certificates: Certificates

    def of(self, user: str) -> dict[str, str]:
        """The environment of one user; secrets as files."""
        secrets = self.folder / f"secrets-{user}"
        secrets.mkdir(exist_ok=True)
        (secrets / "kafka_sasl_password").write_text(password_of(user) + "\n")
        (secrets / "redis_url").write_text(self.addresses["REDIS_URL"])
        rest = {name: value for name, value in self.addresses.items() if name != "REDIS_URL"}
        return rest | {"KAFKA_SASL_USERNAME": user, "SECRETS_DIR": str(secrets)}

    def settings(self, user: str) -> RuntimeSettings:
        """As one of our own commands would read them."""
        values: dict[str, Any] = {name.lower(): value for name, value in self.of(user).items()}
        return RuntimeSettings(**values, kafka_sasl_password=password_of(user))


@pytest.fixture
def secure(tmp_path: Path, database_url: str) -> Iterator[SecureSystem]:
    binary = redis_binary()
    if binary is None:
        pytest.skip("no redis-server for this machine")
    certificates = Certificates(tmp_path)
    users = [*PROCESSES, "producer", "stranger"]
    kafka = SecureKafka(tmp_path / "kafka", DEFAULT_DATA_FOLDER, certificates, users)
    redis = SecureRedis(tmp_path / "redis", binary)
    servers = (kafka, redis)
    try:
        for server in servers:
            server.prepare(Progress(quiet=True))
            server.start()
        yield SecureSystem(
            tmp_path,
            {
                "KAFKA_BOOTSTRAP_SERVERS": kafka.url,
                "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
                "KAFKA_SSL_CA_FILE": str(certificates.ca),
                "DATABASE_URL": database_url,
                "REDIS_URL": redis.url,
                "TOPIC_PREFIX": "",
            },
            kafka.certified_url,
            certificates,
        )
    finally:
        for server in servers:
            server.stop()


@pytest.mark.timeout(500)
async def test_the_listed_rights_are_enough_and_needed(
    secure: SecureSystem, database_url: str
) -> None:
    """An event comes from HTTP to the ledger; who has no right, or no TLS, writes nothing."""
    ledger = Ledger(database_url)
    api_key = ledger.create_customer("cust-a")
    async with admin_client(secure.settings(ADMIN)) as admin:
        await give(admin, list(listed_rights()))
    with System(secure.folder / "system", secure.of(ADMIN)) as system:
        done = system.burnstream("topics")
        system.burnstream("seed")
        system.burnstream("doctor", check=False)
        workers = {"sinks": system.sinks, "streams": system.streams, "gateway": system.gateways}
        for user in PROCESSES:
            environment = system.environment | secure.of(user)
            worker = Worker(user, 0, system.folder, environment)
            workers[user].append(worker)
            worker.start()
        system.wait_until_ready()
        over_http, direct = event("cust-a"), event("cust-a")
        post(system, api_key, over_http)
        async with AIOKafkaProducer(
            **producer_options(secure.settings("producer"), "test")
        ) as producer:
            await producer.send_and_wait("usage.raw", json.dumps(direct).encode(), key=b"cust-a")
        ledger.wait_until_charged(over_http["event_id"], direct["event_id"])
        for worker in system.workers:  # the next of each reads what these have left
            assert worker.stop() == 0
            worker.start()
        system.wait_until_ready()
        later = event("cust-a")
        post(system, api_key, later)
        ledger.wait_until_charged(over_http["event_id"], direct["event_id"], later["event_id"])

        stranger = AIOKafkaProducer(**producer_options(secure.settings("stranger"), "test"))
        with pytest.raises(ClusterAuthorizationFailedError):
            await stranger.start()  # Who may write to no topic is no producer at all.
        await stranger.stop()
        async with AIOKafkaProducer(
            **producer_options(secure.settings("producer"), "test")
        ) as producer:
            with pytest.raises(TopicAuthorizationFailedError):
                await producer.send_and_wait("usage.rated", b"x")

        said = done.stdout + done.stderr + "".join(worker.log for worker in system.workers)
        for secret in (*map(password_of, (*PROCESSES, ADMIN)), "redis-secret"):
            assert secret not in said
        assert "AuthorizationFailed" not in said


async def test_each_way_in(secure: SecureSystem) -> None:
    """By each mechanism with the right password, by a certificate; not without."""
    for mechanism in get_args(SaslMechanism):
        update = {"kafka_sasl_mechanism": mechanism}
        await require_let_in(secure.settings(ADMIN).model_copy(update=update))
        update["kafka_sasl_password"] = SecretStr("wrong")
        await require_refused(secure.settings(ADMIN).model_copy(update=update))
    certificates = secure.certificates
    certified = RuntimeSettings(
        kafka_bootstrap_servers=secure.certified_kafka,
        kafka_security_protocol="SSL",
        kafka_ssl_ca_file=str(certificates.ca),
        kafka_ssl_cert_file=str(certificates.certificate),
        kafka_ssl_key_file=str(certificates.key),
    )
    await require_let_in(certified)
    without = {"kafka_ssl_cert_file": "", "kafka_ssl_key_file": ""}
    await require_refused(certified.model_copy(update=without))


async def require_let_in(settings: RuntimeSettings) -> None:
    """A client that connects as the settings say is answered."""
    async with admin_client(settings) as admin:
        assert (await admin.describe_cluster())["brokers"]


async def require_refused(settings: RuntimeSettings) -> None:
    """A client that connects as the settings say is sent away."""
    with pytest.raises(KafkaError):
        await require_let_in(settings)

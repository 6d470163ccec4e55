"""Embedded servers behind passwords, Kafka behind TLS and ACLs too."""

from pathlib import Path

from deploy.local.kafka_server import KafkaServer
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.redis_server import RedisServer
from tests.e2e.secure.certificates import Certificates

ADMIN = "admin"
REDIS_PASSWORD = "redis-secret"


def password_of(user: str) -> str:
    """Kafka's password of a user of the tests."""
    return f"secret-of-{user}"


class SecureKafka(KafkaServer):
    """Two listeners over TLS: passwords, or certificates. `admin` may all, others what ACLs say."""

    def __init__(
        self, folder: Path, software: Path, certificates: Certificates, users: list[str]
    ) -> None:
        super().__init__(folder, free_port(), software)
        self._certificates = certificates
        self._users = [ADMIN, *users]
        self._certified_port = free_port()

    @property
    def certified_url(self) -> str:
        """`host:port` where clients show a certificate and no password."""
        return f"{LOOPBACK}:{self._certified_port}"

    def settings(self) -> str:
        """The plain broker's, its listener for itself alone, and two more for clients."""
        inside = free_port()
        modules = "org.apache.kafka.common.security"
        scram = f"{modules}.scram.ScramLoginModule required;"
        known = " ".join(f'user_{user}="{password_of(user)}"' for user in self._users)
        plain_login = f"{modules}.plain.PlainLoginModule required {known};"
        clients = "listener.name.clients"
        plain = super().settings().replace(f"{LOOPBACK}:{self.port}", f"{LOOPBACK}:{inside}")
        lines = []
        for line in plain.splitlines():
            name = line.partition("=")[0]
            if name in {"listeners", "advertised.listeners"}:
                line += f",CLIENTS://{self.url},CERTIFIED://{self.certified_url}"  # noqa: PLW2901
            if name == "listener.security.protocol.map":
                line += ",CLIENTS:SASL_SSL,CERTIFIED:SSL"  # noqa: PLW2901
            lines.append(line)
        return "\n".join(
            [
                *lines,
                "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                f"super.users=User:{ADMIN};User:ANONYMOUS",
                f"{clients}.sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN",
                f"{clients}.scram-sha-512.sasl.jaas.config={scram}",
                f"{clients}.scram-sha-256.sasl.jaas.config={scram}",
                f"{clients}.plain.sasl.jaas.config={plain_login}",
                "listener.name.certified.ssl.client.auth=required",
                "ssl.keystore.type=PEM",
                f"ssl.keystore.location={self._certificates.chain}",
                "ssl.truststore.type=PEM",
                f"ssl.truststore.location={self._certificates.ca}",
                "",
            ]
        )

    def format_options(self) -> list[str]:
        """The users, written into the cluster's first metadata."""
        return [
            word
            for user in self._users
            for hashed in ("SCRAM-SHA-512", "SCRAM-SHA-256")
            for word in ("--add-scram", f"{hashed}=[name={user},password={password_of(user)}]")
        ]


class SecureRedis(RedisServer):
    """Behind a password. The embedded build has no TLS."""

    def __init__(self, folder: Path, binary: Path) -> None:
        super().__init__(folder, free_port(), binary)

    @property
    def url(self) -> str:
        """With the password."""
        return f"redis://:{REDIS_PASSWORD}@{LOOPBACK}:{self.port}/0"

    def command(self) -> list[str]:
        """As ever, and nobody without the password."""
        return [*super().command(), "--requirepass", REDIS_PASSWORD]

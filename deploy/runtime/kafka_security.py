"""How clients prove themselves to Kafka, and Kafka to them: the same for every client of ours."""

import ssl
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import SecretStr

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]


class KafkaSecurity(Protocol):
    """The settings that say it."""

    @property
    def kafka_security_protocol(self) -> SecurityProtocol: ...  # noqa: D102 -- the variables' names
    @property
    def kafka_sasl_mechanism(self) -> SaslMechanism: ...  # noqa: D102
    @property
    def kafka_sasl_username(self) -> str: ...  # noqa: D102
    @property
    def kafka_sasl_password(self) -> SecretStr: ...  # noqa: D102
    @property
    def kafka_ssl_ca_file(self) -> str: ...  # noqa: D102
    @property
    def kafka_ssl_cert_file(self) -> str: ...  # noqa: D102
    @property
    def kafka_ssl_key_file(self) -> str: ...  # noqa: D102


def refuse_contradictions(settings: KafkaSecurity) -> None:
    """Refuse what would connect less safely than was meant. Raises ValueError, without secrets."""
    protocol = settings.kafka_security_protocol
    files = {
        "KAFKA_SSL_CA_FILE": settings.kafka_ssl_ca_file,
        "KAFKA_SSL_CERT_FILE": settings.kafka_ssl_cert_file,
        "KAFKA_SSL_KEY_FILE": settings.kafka_ssl_key_file,
    }
    has_name = bool(settings.kafka_sasl_username)
    has_password = bool(settings.kafka_sasl_password.get_secret_value())
    if protocol.startswith("SASL") and not (has_name and has_password):
        raise ValueError(
            f"KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD with KAFKA_SECURITY_PROTOCOL={protocol}"
        )
    if (has_name or has_password) and not protocol.startswith("SASL"):
        raise ValueError(f"no KAFKA_SASL_* with KAFKA_SECURITY_PROTOCOL={protocol}, or SASL_SSL")
    if any(files.values()) and not protocol.endswith("SSL"):
        raise ValueError(f"no KAFKA_SSL_* with KAFKA_SECURITY_PROTOCOL={protocol}, or SASL_SSL")
    if bool(settings.kafka_ssl_cert_file) != bool(settings.kafka_ssl_key_file):
        raise ValueError("KAFKA_SSL_CERT_FILE and KAFKA_SSL_KEY_FILE, both or neither")
    for variable, file in files.items():
        if file and not Path(file).is_file():
            raise ValueError(f"{variable}: a file that can be read; {file} is none")


def security_options(settings: KafkaSecurity) -> dict[str, Any]:
    """Return the arguments by which every aiokafka client connects as the settings say.

    Raises:
        ssl.SSLError: a file holds no certificate or key.
    """
    protocol = settings.kafka_security_protocol
    options: dict[str, Any] = {"security_protocol": protocol}
    if protocol.endswith("SSL"):
        # Without a CA file: the authorities that this machine trusts. The host's name is checked.
        context = ssl.create_default_context(cafile=settings.kafka_ssl_ca_file or None)
        if settings.kafka_ssl_cert_file and settings.kafka_ssl_key_file:
            context.load_cert_chain(settings.kafka_ssl_cert_file, settings.kafka_ssl_key_file)
        options["ssl_context"] = context
    if protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": settings.kafka_sasl_password.get_secret_value(),
        }
    return options

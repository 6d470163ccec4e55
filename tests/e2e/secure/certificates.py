"""Certificates of one test run, as PEM files that Kafka, Postgres and Redis can read."""

from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization

from deploy.local.ports import LOOPBACK


class Certificates:
    """`ca`, and for this machine's loopback address `certificate`, `key` and both in `chain`."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert(LOOPBACK)
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        # Kafka reads keys in PKCS 8 only.
        key_pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        certificate_pem = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        self.ca = _write(folder / "ca.pem", authority.cert_pem.bytes())
        self.certificate = _write(folder / "server.pem", certificate_pem)
        self.key = _write(folder / "server.key", key_pem)
        self.chain = _write(folder / "chain.pem", key_pem + certificate_pem)


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path

"""How every aiokafka client of ours is built, and what must always be said to a broker."""

from typing import Any

from deploy.runtime.settings import RuntimeSettings


def client_options(settings: RuntimeSettings, client_id: str) -> dict[str, Any]:
    """Return the arguments that every aiokafka client takes."""
    return {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "client_id": f"burnstream-{client_id}",
        "request_timeout_ms": 30_000,
    }


def producer_options(
    settings: RuntimeSettings, client_id: str, *, linger_milliseconds: int = 0
) -> dict[str, Any]:
    """Return arguments of an idempotent producer that waits for all replicas.

    Such a producer never gives a record up: whoever waits for one sets a deadline of their own.
    """
    return client_options(settings, client_id) | {
        "acks": "all",
        "enable_idempotence": True,
        "linger_ms": linger_milliseconds,
        "compression_type": "lz4",
    }


def reader_options(settings: RuntimeSettings, client_id: str) -> dict[str, Any]:
    """Return arguments of a consumer without a group that sees committed records only."""
    return client_options(settings, client_id) | {
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "fetch_max_bytes": 64 << 20,
        "max_partition_fetch_bytes": 16 << 20,
    }

from pydantic import Field, SecretStr

from deploy.local.progress import Progress
from deploy.local.servers import KAFKA_PORT, POSTGRES_PORT, REDIS_PORT, LocalServers
from deploy.runtime.settings import RuntimeSettings


class LocalSettings(RuntimeSettings):
    """What the embedded servers and `burnstream run` read beside what every process reads."""

    kafka_port: int = Field(KAFKA_PORT, ge=0, le=65_535, description="0: a free one")
    postgres_port: int = Field(POSTGRES_PORT, ge=0, le=65_535, description="0: a free one")
    redis_port: int = Field(REDIS_PORT, ge=0, le=65_535, description="0: a free one")
    host: str = Field("0.0.0.0", description="the gateway's")  # noqa: S104 -- the guide's
    port: int = Field(8081, ge=1, le=65_535, description="the gateway's")
    console_port: int = Field(8001, ge=1, le=65_535, description="the console's")
    admin_api_key: SecretStr = Field(
        SecretStr(""), description="the console's; none: one is made and kept in STATE_DIR"
    )
    gateway_workers: int = Field(1, ge=1, le=64, description="processes that burnstream run keeps")
    streams_workers: int = Field(1, ge=1, le=64, description="processes that burnstream run keeps")
    sinks_workers: int = Field(1, ge=1, le=64, description="processes that burnstream run keeps")

    @property
    def worker_counts(self) -> dict[str, int]:
        """How many of each process, in the order in which they start."""
        return {
            "sinks": self.sinks_workers,
            "streams": self.streams_workers,
            "gateway": self.gateway_workers,
        }

    def servers(self, progress: Progress) -> LocalServers:
        """The embedded servers; one whose address the environment gives runs elsewhere."""
        given = self.model_fields_set
        return LocalServers(
            self.state_dir,
            kafka_port=self.kafka_port,
            postgres_port=self.postgres_port,
            redis_port=self.redis_port,
            kafka_bootstrap=_if_given(
                self.kafka_bootstrap_servers, "kafka_bootstrap_servers" in given
            ),
            database_url=_if_given(self.database_url, "database_url" in given),
            redis_url=_if_given(self.redis_url, "redis_url" in given),
            software_dir=self.state_dir,
            progress=progress,
        )


def _if_given(address: str, is_given: bool) -> str | None:
    return address if is_given else None

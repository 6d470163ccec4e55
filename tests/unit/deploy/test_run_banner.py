"""What `burnstream run` prints when everything is ready."""

from deploy.local.pipeline import _banner, _shown
from deploy.local.servers import Addresses
from deploy.local.settings import LocalSettings

EMBEDDED = Addresses("127.0.0.1:9092", "postgresql://admin:admin@127.0.0.1:5432/monetization", None)
GIVEN = Addresses(
    "kafka.example:9092",
    "postgresql://bill:s3cret@db.example/ledger?sslmode=require",
    "rediss://:hidden@redis.example:6379/0",
)


def banner(settings: LocalSettings, addresses: Addresses) -> str:
    """As it is printed."""
    return _banner("http://127.0.0.1:8081", settings, _shown(settings, addresses), "key")


def test_a_given_servers_password_is_not_printed() -> None:
    """It may be a real one; where it is, is."""
    settings = LocalSettings(database_url=GIVEN.database_url, redis_url=str(GIVEN.redis_url))
    text = banner(settings, GIVEN)
    assert "db.example/ledger?sslmode=require" in text
    assert "redis.example:6379/0" in text
    assert "s3cret" not in text
    assert "hidden" not in text


def test_the_embedded_ones_is() -> None:
    """It is everybody's, and who wants to look needs it."""
    assert EMBEDDED.database_url in banner(LocalSettings(), EMBEDDED)


def test_moved_metrics_are_told() -> None:
    """Processes take the ports from the given one on."""
    assert "127.0.0.1:59101/metrics" in banner(LocalSettings(metrics_port=59101), EMBEDDED)

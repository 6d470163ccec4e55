"""Metrics of the sinks; no label per customer.

A counter of few labels has all of them from the start: the first increase would not show otherwise.
"""

from prometheus_client import Counter, Gauge, Histogram

from deploy.runtime.partition_gauge import PartitionGauge
from schemas.dead_letter import Reason

EVENTS = Counter(
    "burnstream_sinks_events_total",
    "Events applied, by what became of them",
    ["outcome"],  # charged, duplicate, conflict, dead-letter, refused
)
DEAD_LETTERS = Counter(
    "burnstream_sinks_dead_letters_total",
    "Dead letters written, by reason, the streams' and the sinks'",
    ["reason"],
)
TRANSACTIONS = Counter("burnstream_sinks_transactions_total", "Transactions committed")
TRANSACTION_SECONDS = Histogram(
    "burnstream_sinks_transaction_seconds",
    "From BEGIN to COMMIT",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
TRANSACTION_EVENTS = Histogram(
    "burnstream_sinks_transaction_events",
    "Events applied by a transaction",
    buckets=(0, 1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 25_000),
)
RETRIES = Counter(
    "burnstream_sinks_retries_total",
    "Transactions tried again, by SQLSTATE (connection: lost)",
    ["sqlstate"],
)
REPLAYED_BATCHES = Counter(
    "burnstream_sinks_replayed_batches_total", "Rated batches that were applied already"
)
PASSED_OVER = Counter(
    "burnstream_sinks_passed_over_batches_total", "Rated batches that begin beyond a hole"
)
GAPPED = Gauge(
    "burnstream_sinks_partition_gapped",
    "1: a hole stands before what was read; alert",
    ["partition"],
)
TERMINATED = Counter(
    "burnstream_sinks_terminated_backends_total", "Sessions of other sinks that held this one up"
)
POSTGRES_UP = Gauge("burnstream_sinks_postgres_up", "0: Postgres is away, the sink waits")
LAG = PartitionGauge("burnstream_sinks_lag_records", "Records of usage.rated not yet applied")
LAG_SECONDS = PartitionGauge(
    "burnstream_sinks_lag_seconds", "Age of the oldest rated batch in hand, by its broker time"
)
REBALANCES = Counter("burnstream_sinks_rebalances", "Assignments of partitions to this worker")
KAFKA_UP = Gauge("burnstream_sinks_kafka_up", "0: Kafka does not answer")
NEXT_OFFSET = PartitionGauge(
    "burnstream_sinks_next_offset", "Offset of usage.raw that the ledger has reached"
)
UNPAID_RECORDS = PartitionGauge(
    "burnstream_sinks_unpaid_records", "Offsets of usage.raw beyond what the ledger has reached"
)
OLDEST_UNPAID_SECONDS = PartitionGauge(
    "burnstream_sinks_oldest_unpaid_seconds",
    "Age, by its broker time, of the oldest record of usage.raw that is not in the ledger",
)
IS_PRICE_LEADER = Gauge("burnstream_prices_is_leader", "1: this worker publishes the prices")
PRICE_REVISION = Gauge("burnstream_prices_published_revision", "Price revision published last")
SELF_REPLAYED = Counter(
    "burnstream_prices_replayed_letters_total",
    "Letters that replayed themselves: a price covers them, and nobody decides",
)
IS_AUDITOR = Gauge("burnstream_sinks_is_auditor", "1: this worker audits behind all sinks")
AUDIT_DISCREPANCIES = Gauge(
    "burnstream_sinks_audit_discrepancies",
    "Contradictions that the audit behind the sinks found and that still stand, by rule; alert",
    ["code"],
)
AUDIT_TIMESTAMP = Gauge(
    "burnstream_sinks_audit_timestamp_seconds",
    "Until when all that was applied is proven; 0 at workers that do not audit",
)
AUDIT_SECONDS = Histogram(
    "burnstream_sinks_audit_seconds",
    "A look of the audit behind the sinks",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300),
)
AUDIT_EVENTS = Counter("burnstream_sinks_audited_events", "Events proven behind the sinks")
AUDIT_FAILURES = Counter(
    "burnstream_sinks_audit_failures", "Looks that came to no end, Postgres being away or a bug"
)

for _outcome in ("charged", "duplicate", "conflict", "dead-letter", "refused"):
    EVENTS.labels(_outcome)
for _reason in Reason:
    DEAD_LETTERS.labels(str(_reason))

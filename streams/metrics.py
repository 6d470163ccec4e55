"""What a streams worker measures. No label per customer: their number has no bound.

A counter of few labels has all of them from the start: the first increase would not show otherwise.
"""

import time

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from deploy.runtime.partition_gauge import PartitionGauge
from schemas.dead_letter import Reason

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)


class Metrics:
    """The metrics of one worker."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.events = Counter(
            "burnstream_streams_events", "Events by verdict", ["verdict"], registry=registry
        )
        self.dead_letters = Counter(
            "burnstream_streams_dead_letters",
            "Dead letters by reason",
            ["reason"],
            registry=registry,
        )
        self.batches = Counter(
            "burnstream_streams_rated_batches", "Rated batches acknowledged", registry=registry
        )
        self.batch_bytes = Counter(
            "burnstream_streams_rated_bytes", "Bytes of rated batches", registry=registry
        )
        self.batch_seconds = Histogram(
            "burnstream_streams_rated_batch_seconds",
            "From the records of a batch to its acknowledgement",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.jumps = Counter(
            "burnstream_streams_jumps", "Runs that did not begin where expected", registry=registry
        )
        self.empty_offsets = Counter(
            "burnstream_streams_empty_offsets",
            "Offsets without a record, covered",
            registry=registry,
        )
        self.ahead = Counter(
            "burnstream_streams_batches_ahead",
            "Rated batches passed over because they start ahead",
            registry=registry,
        )
        self.batch_events = Histogram(
            "burnstream_streams_rated_batch_events",
            "Events of a rated batch",
            buckets=(0, 1, 10, 100, 250, 500, 1_000, 2_500, 5_000),
            registry=registry,
        )
        self.identities = Gauge(
            "burnstream_streams_seen_identities", "Identities remembered", registry=registry
        )
        self.price_revision = Gauge(
            "burnstream_streams_price_revision", "Revision of the price book", registry=registry
        )
        self.price_book_taken = Gauge(
            "burnstream_streams_price_book_timestamp_seconds",
            "When this worker took the revision in force; time() less it is the book's age",
            registry=registry,
        )
        self.stopped = Gauge(
            "burnstream_streams_stopped_by_dead_letters",
            "1 while too large a share of dead letters holds the stage",
            registry=registry,
        )
        self.burns_failures = Counter(
            "burnstream_streams_burns_failures",
            "Writes to usage.burns that failed and are repeated",
            registry=registry,
        )
        self._declare_positions(registry)
        self._declare_folds(registry)
        self._declare_group(registry)
        for verdict in ("charged", "duplicate", "dead-letter"):
            self.events.labels(verdict)
        for reason in Reason:
            self.dead_letters.labels(str(reason))

    def took_prices(self, revision: int) -> None:
        """Note that a price book came into force."""
        self.price_revision.set(revision)
        self.price_book_taken.set(time.time())

    def _declare_positions(self, registry: CollectorRegistry) -> None:
        self.lag = PartitionGauge("burnstream_streams_lag", "Raw records not yet rated", registry)
        self.lag_seconds = PartitionGauge(
            "burnstream_streams_lag_seconds",
            "Age of the oldest raw record in hand, by its broker time",
            registry,
        )
        self.next_offset = PartitionGauge(
            "burnstream_streams_next_offset", "Raw offset to be rated next", registry
        )

    def _declare_group(self, registry: CollectorRegistry) -> None:
        self.rebalances = Counter(
            "burnstream_streams_rebalances",
            "Assignments of partitions to this worker",
            registry=registry,
        )
        self.kafka_up = Gauge(
            "burnstream_streams_kafka_up", "0: Kafka does not answer", registry=registry
        )
        self.deaths_at_offset = Gauge(
            "burnstream_streams_deaths_at_offset",
            "Deaths in a row of this worker at one record that is not rated yet",
            ["partition", "offset"],
            registry=registry,
        )

    def _declare_folds(self, registry: CollectorRegistry) -> None:
        self.fold_seconds = Histogram(
            "burnstream_streams_fold_seconds",
            "Folding a partition's rated batches",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
            registry=registry,
        )
        self.fold_share = Gauge(
            "burnstream_streams_fold_share",
            "Share of a partition's rated batches folded; below 1 it is not rated yet",
            ["partition"],
            registry=registry,
        )
        self.folds_again = Counter(
            "burnstream_streams_folds_again",
            "Partitions folded again because somebody else wrote to usage.rated",
            registry=registry,
        )

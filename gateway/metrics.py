"""The gateway's metrics. No label names a customer, a key or an address.

A counter of few labels has all of them from the start: the first increase would not show otherwise.
"""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS = Counter(
    "burnstream_gateway_requests", "Requests answered, by route and status.", ["route", "status"]
)
REQUEST_SECONDS = Histogram(
    "burnstream_gateway_request_seconds",
    "From a request's head to its answer.",
    ["route"],
    buckets=_SECONDS,
)
EVENTS = Counter(
    "burnstream_gateway_events",
    "Events of answered requests: accepted, duplicates (advice), rejected.",
    ["outcome"],
)
BATCH_EVENTS = Histogram(
    "burnstream_gateway_batch_events",
    "Events of a request that was taken in, the rejected ones too.",
    buckets=(1, 10, 50, 100, 250, 500, 1_000),
)
BODY_BYTES = Gauge(
    "burnstream_gateway_body_bytes", "Bytes of requests' bodies that are held at once."
)
PRODUCE_SECONDS = Histogram(
    "burnstream_gateway_produce_seconds",
    "From the hand-over to Kafka's acknowledgement.",
    buckets=_SECONDS,
)
PRODUCE_FAILURES = Counter(
    "burnstream_gateway_produce_failures",
    "Requests that Kafka did not acknowledge: deadline, full, error, absent.",
    ["cause"],
)
PRODUCE_BUFFER_BYTES = Gauge(
    "burnstream_gateway_produce_buffer_bytes", "Bytes that wait for Kafka's acknowledgement."
)
PRODUCER_REPLACEMENTS = Counter(
    "burnstream_gateway_producer_replacements", "Kafka producers replaced because they broke."
)
KEY_LOOKUPS = Counter(
    "burnstream_gateway_key_lookups",
    "API keys by how they were decided: cached, verified, unknown, outage (verified before it), "
    "unavailable.",
    ["result"],
)
RATE_LIMITED = Counter(
    "burnstream_gateway_rate_limited", "Requests answered 429, by kind of bucket.", ["bucket"]
)
OUTAGES = Counter(
    "burnstream_gateway_outages",
    "Times the gateway began to go without a service: redis, database.",
    ["service"],
)
DEAD_LETTERS_REPLAYED = Counter(
    "burnstream_gateway_dead_letters_replayed", "Dead letters that customers replayed."
)
SERVICE_UP = Gauge(
    "burnstream_gateway_service_up",
    "0: the service does not answer: queue (Kafka), database, redis.",
    ["service"],
)
CANARY_SENT = Counter("burnstream_gateway_canary_sent", "Events that the canary sent.")
CANARY_SECONDS = Histogram(
    "burnstream_gateway_canary_seconds",
    "From the hand-over of the canary's event to its row in the ledger.",
    buckets=(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
CANARY_PENDING_SECONDS = Gauge(
    "burnstream_gateway_canary_pending_seconds",
    "How long the oldest of the canary's events has waited for its row; 0 without one.",
)

for _outcome in ("accepted", "duplicates", "rejected"):
    EVENTS.labels(_outcome)
for _cause in ("deadline", "full", "error", "absent"):
    PRODUCE_FAILURES.labels(_cause)
for _result in ("cached", "verified", "unknown", "outage", "unavailable"):
    KEY_LOOKUPS.labels(_result)
for _bucket in ("customer", "peer", "health"):
    RATE_LIMITED.labels(_bucket)
for _service in ("redis", "database"):
    OUTAGES.labels(_service)

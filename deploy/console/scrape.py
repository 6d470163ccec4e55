"""The metrics of the processes: which of them run, what they hold, what they complain about."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from deploy.console.pipeline_state import ProcessSeen

TIMEOUT_SECONDS = 1.0
PAGE_BYTES_MAX = 4 << 20

# Every name that is read of the processes; a test holds them against what those declare.
ACCEPTED = "burnstream_gateway_events_total"
PARTITION_GAUGES = {
    "streams": "burnstream_streams_lag",
    "sinks": "burnstream_sinks_lag_records",
}
PREFIXES = {f"burnstream_{process}_": process for process in ("gateway", "streams", "sinks")}
# Metric, the values that are no news, what to say of others.
COMPLAINTS = (
    ("burnstream_streams_stopped_by_dead_letters", 0.0, "held by dead letters"),
    ("burnstream_streams_fold_share", 1.0, "reading back what was rated"),
    ("burnstream_sinks_partition_gapped", 0.0, "a rated batch is missing"),
    ("burnstream_sinks_postgres_up", 1.0, "waits for Postgres"),
)

Samples = Mapping[str, list[tuple[Mapping[str, str], float]]]


async def scrape(session: aiohttp.ClientSession, addresses: Iterable[str]) -> list[ProcessSeen]:
    """Return the processes whose metrics answer; addresses where nothing listens are left out."""
    found = await asyncio.gather(*(_one(session, address) for address in addresses))
    return [one for one in found if one is not None]


async def _one(session: aiohttp.ClientSession, address: str) -> ProcessSeen | None:
    try:
        async with session.get(f"http://{address}/metrics") as answer:
            text = (await answer.content.read(PAGE_BYTES_MAX)).decode(errors="replace")
            return read_page(address, text) if answer.status == 200 else None  # noqa: PLR2004 -- OK
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None


def new_session() -> aiohttp.ClientSession:
    """Return a session that waits for nobody long."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))


def read_page(address: str, text: str) -> ProcessSeen | None:
    """Read a page of metrics; None when it is not one of ours. Raises ValueError."""
    samples: dict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name].append((sample.labels, sample.value))
    process = _process_of(samples)
    if process is None:
        return None
    started = _only(samples, "process_start_time_seconds")
    memory = _only(samples, "process_resident_memory_bytes")
    return ProcessSeen(
        address=address,
        process=process,
        started_at=None if started is None else datetime.fromtimestamp(started, UTC),
        memory_bytes=None if memory is None else round(memory),
        cpu_seconds=_only(samples, "process_cpu_seconds_total"),
        partitions=_partitions(samples, PARTITION_GAUGES.get(process, "")),
        warnings=tuple(_warnings(samples)),
        counts={
            "accepted": sum(
                value
                for labels, value in samples.get(ACCEPTED, ())
                if labels.get("outcome") == "accepted"
            )
        },
    )


def _process_of(samples: Samples) -> str | None:
    for name in samples:
        for prefix, process in PREFIXES.items():
            if name.startswith(prefix):
                return process
    return None


def _only(samples: Samples, name: str) -> float | None:
    found = samples.get(name)
    return found[0][1] if found else None


def _partitions(samples: Samples, gauge: str) -> tuple[int, ...]:
    labels = [labels.get("partition", "") for labels, _ in samples.get(gauge, ())]
    return tuple(sorted(int(label) for label in labels if label.isdigit()))


def _warnings(samples: Samples) -> Iterable[str]:
    for name, usual, text in COMPLAINTS:
        for labels, value in samples.get(name, ()):
            if value != usual:
                partition = labels.get("partition")
                yield text if partition is None else f"partition {partition}: {text}"

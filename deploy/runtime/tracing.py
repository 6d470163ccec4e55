"""W3C trace context, from the HTTP request through Kafka's headers to the ledger.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT is set: then nothing is imported, and `traceparent` headers
are handed on from the request to `usage.raw` as they came. On, each process exports its span of
every record that carries one; sampling and batching are OpenTelemetry's own (OTEL_TRACES_SAMPLER,
OTEL_BSP_...). A trace is for looking at; nothing depends on it.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from deploy.runtime.exit import ExitCode

TRACEPARENT = "traceparent"
TRACES_HEADER = "traces"
ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
STOP_SECONDS = 2.0

Traces = Sequence[tuple[int, bytes]]  # offset in usage.raw, traceparent

_FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_of(text: str | None) -> bytes | None:
    """Return a header's value where it has the form, else None: it came from outside."""
    return text.encode() if text and _FORM.fullmatch(text) else None


def traced(records: Iterable[Any]) -> list[tuple[int, bytes]]:
    """Return offset and traceparent of those of some records (aiokafka's) that carry one."""
    return [
        (record.offset, value)
        for record in records
        for name, value in record.headers
        if name == TRACEPARENT and value and traceparent_of(value.decode("latin-1"))
    ]


def traces_header(traces: Traces) -> tuple[str, bytes]:
    """Return the header by which a record of many records' outcomes hands their traces on."""
    return TRACES_HEADER, orjson.dumps([(offset, parent.decode()) for offset, parent in traces])


def handed_on(headers: Iterable[tuple[str, bytes]]) -> list[tuple[int, bytes]]:
    """Return what `traces_header` wrote, nothing where it is not."""
    return [
        (offset, parent.encode())
        for name, value in headers
        if name == TRACES_HEADER
        for offset, parent in orjson.loads(value)
    ]


class OpenSpan:
    """Something that is being done. `traceparent`: what its children carry; None: not sampled."""

    def __init__(self, span: Any) -> None:
        self._span = span
        context = span.get_span_context()
        is_sampled = context.trace_flags.sampled
        text = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
        self.traceparent = text.encode() if is_sampled else None

    def end(self, ended_ns: int, attributes: Mapping[str, str | int]) -> None:
        """It was done at a time (since 1970)."""
        self._span.set_attributes(attributes)
        self._span.end(end_time=ended_ns)


class Tracing:
    """Exports spans of one process."""

    def __init__(self, process: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            sys.stderr.write(
                f"{ENDPOINT_VARIABLE} is set, but OpenTelemetry is missing:"
                " install burnstream[tracing], or unset it\n"
            )
            sys.exit(ExitCode.USAGE)
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._propagator = TraceContextTextMapPropagator()
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": f"burnstream-{process}"}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("burnstream")

    def begin(self, name: str, parent: bytes | None, began_ns: int) -> OpenSpan:
        """Begin a span at a time (since 1970); without a parent it begins a trace."""
        carrier = {} if parent is None else {TRACEPARENT: parent.decode("latin-1")}
        context = self._propagator.extract(carrier)
        return OpenSpan(self._tracer.start_span(name, context=context, start_time=began_ns))

    def spans(
        self, name: str, traces: Traces, seconds: float, attributes: Mapping[str, str | int]
    ) -> None:
        """Export one span for each record: what was done with it, until now."""
        ended_ns = time.time_ns()
        began_ns = ended_ns - int(seconds * 1e9)
        for offset, parent in traces:
            span = self.begin(name, parent, began_ns)
            span.end(ended_ns, {**attributes, "offset": offset})

    def stop(self) -> None:
        """Send what waits; an absent collector holds nobody up."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(STOP_SECONDS)


def start_tracing(process: str) -> Tracing | None:
    """Return what exports this process's spans, None where nobody asked for it."""
    return Tracing(process) if os.environ.get(ENDPOINT_VARIABLE) else None

"""One trace from the HTTP request to the ledger, as a collector sees it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from deploy.local.ports import LOOPBACK
from tests.e2e.ledger import Ledger
from tests.e2e.producers import event
from tests.system import System
from tests.waiting import wait_until

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
Span = tuple[str, str, str, str]  # service, name, span id, parent's span id


class Collector:
    """Takes spans over HTTP as OpenTelemetry's collector does."""

    def __init__(self) -> None:
        self.spans: dict[str, list[Span]] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{LOOPBACK}:{self.server.server_address[1]}"

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.setdefault(span.trace_id.hex(), []).append(
                        (
                            names["service.name"],
                            span.name,
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                        )
                    )


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def environment(collector: Collector) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}


@pytest.mark.timeout(180)
def test_a_trace_leads_from_the_request_to_the_row(
    system: System, database_url: str, collector: Collector
) -> None:
    """Each process has its span in the caller's trace; unsampled callers leave none."""
    ledger = Ledger(database_url)
    api_key = ledger.create_customer("cust-traced")
    system.start()

    def send(flags: str) -> str:
        sent = event("cust-traced")
        request = Request(  # noqa: S310 -- our own address
            f"{system.gateway_url}/v1/events/ingest",
            json.dumps({"events": [sent]}).encode(),
            {
                "Content-Type": "application/json",
                "x-api-key": api_key,
                "traceparent": f"00-{TRACE_ID}-{PARENT_ID}-{flags}",
            },
        )
        with urlopen(request, timeout=30) as answer:  # noqa: S310 -- our own address
            assert answer.status == 202
        return str(sent["event_id"])

    unsampled = send("00")
    ledger.wait_until_charged(unsampled)
    ledger.wait_until_charged(send("01"))
    wait_until(lambda: len(collector.spans.get(TRACE_ID, ())) >= 3, 30, "three spans come")

    spans = {one[0]: one for one in collector.spans[TRACE_ID]}
    assert len(collector.spans[TRACE_ID]) == 3
    gateway = spans["burnstream-gateway"]
    assert gateway[1:2] + gateway[3:] == ("ingest", PARENT_ID)
    for service, name in (("burnstream-streams", "rate"), ("burnstream-sinks", "apply")):
        assert spans[service][1:2] + spans[service][3:] == (name, gateway[2])

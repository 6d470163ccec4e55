"""A gateway that answers by a script, and remembers what it was sent."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from deploy.local.ports import LOOPBACK

Reply = tuple[int, dict[str, str], dict[str, Any]]  # status, headers, body
TAKEN: Reply = (202, {}, {"accepted": 1})


@dataclass
class ScriptedGateway:
    """`replies`: to the first requests, in order; then `usual`, which sees the events."""

    url: str
    replies: list[Reply | None] = field(default_factory=list)  # None: no answer, the line is cut
    usual: Callable[[list[dict[str, Any]]], Reply] = lambda _: TAKEN
    requests: list[list[dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    # Nobody is answered until it is set.
    is_open: threading.Event = field(default_factory=threading.Event)

    @property
    def event_ids(self) -> list[str]:
        """Ids of all events of all requests, in order."""
        return [event["event_id"] for events in self.requests for event in events]


@contextmanager
def scripted_gateway(*replies: Reply | None) -> Iterator[ScriptedGateway]:
    """Serve on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body of an answer are two writes

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            gateway.is_open.wait(30)
            events = json.loads(body)["events"]
            gateway.requests.append(events)
            gateway.headers.append({name.lower(): value for name, value in self.headers.items()})
            reply = gateway.replies.pop(0) if gateway.replies else gateway.usual(events)
            if reply is None:
                self.close_connection = True
                return
            status, headers, answer = reply
            text = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        server.daemon_threads = True
        gateway = ScriptedGateway(f"http://{LOOPBACK}:{server.server_port}", list(replies))
        gateway.is_open.set()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield gateway
        gateway.is_open.set()
        server.shutdown()

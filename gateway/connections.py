"""Connections: how long one may idle, and what is answered to what is no request.

The framework answers malformed HTTP with the very bytes that it could not read, and logs them with
a traceback. They may hold keys and events: here they go no further.
"""

import contextlib
import resource
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestHandler

from gateway import metrics
from gateway.errors import SECURITY_HEADERS, frames_of, json_response, plain
from gateway.settings import GatewaySettings

_log = structlog.get_logger("gateway")

# Of the time to shut down: what requests under way may take.
_REQUESTS_SHARE = 0.6
_CONTINUE = "100-continue"


def make_runner(app: web.Application, settings: GatewaySettings) -> web.AppRunner:
    """Return the runner of the application, with the limits of its connections."""
    return _Runner(
        app,
        access_log=None,
        # Inflated by the handler, within a limit.
        auto_decompress=False,
        keepalive_timeout=settings.idle_timeout_seconds,
        shutdown_timeout=settings.shutdown_grace_seconds * _REQUESTS_SHARE,
    )


def close_unread(listener: socket.socket, settings: GatewaySettings) -> None:
    """Have the system close connections whose caller reads no answer for the idle time."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted sockets inherit it
        milliseconds = round(settings.idle_timeout_seconds * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


def allow_many_connections() -> None:
    """Raise the soft limit on open files to the hard one: a thousand slow callers are many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS names a limit that it does not take
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Runner(web.AppRunner):
    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            _expecting(made.request_handler),
            request_factory=made.request_factory,
            **made._kwargs,  # noqa: SLF001 -- the framework has no public way to its connections
        )


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 -- it quotes what was sent
    ) -> web.StreamResponse:
        """Answer what is no HTTP, or what went wrong outside of every handler."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun")
        if status < 500:  # noqa: PLR2004 -- the caller's mistake
            _log.info("Request not understood", reason=type(exc).__name__)
            return _outside_of_routes(400, "Bad Request", "The request is not valid HTTP/1.1")
        self.log_exception("Request failed", exc_info=exc)
        return _outside_of_routes(500, "Internal Server Error", "The request failed")

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log where something failed, without what it was about."""
        error = kw.get("exc_info")
        _log.error(str(args[0]), failure=type(error).__name__, at=frames_of(error))


def _expecting(
    handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Refuse expectations that nobody here meets, before the framework quotes them."""

    async def checked(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get(hdrs.EXPECT, "").lower() not in {"", _CONTINUE}:
            return _outside_of_routes(417, "Expectation Failed", f"Expect must be {_CONTINUE}")
        return await handle(request)

    return checked


def _outside_of_routes(status: int, error: str, message: str) -> web.Response:
    metrics.REQUESTS.labels("unmatched", status).inc()
    # The framework would name itself where no header says otherwise.
    headers = SECURITY_HEADERS | {hdrs.SERVER: "burnstream"}
    response = json_response(plain(status, error, message).body, status, headers)
    response.force_close()
    return response

"""Server-sent events: parts of a page again whenever they changed, rendered where pages are."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

import orjson
from aiohttp import hdrs, web

from deploy.console.access import COOKIE, SESSIONS
from deploy.console.ledger import UnavailableError
from deploy.console.pages import SESSION

ENDING = web.AppKey("ending", asyncio.Event)

Look = Callable[[], Awaitable[Mapping[str, str]]]


async def fragments(request: web.Request, look: Look, seconds: float) -> web.StreamResponse:
    """Send `look()`'s fragments of HTML, by the id of the element that each fills, as they change.

    Ends with the session, with the process, and when the browser leaves; the browser comes back by
    itself. While a server is away an event `away` says so.
    """
    response = web.StreamResponse(
        headers={hdrs.CONTENT_TYPE: "text/event-stream", "X-Accel-Buffering": "no"}
    )
    await response.prepare(request)
    with contextlib.suppress(ConnectionResetError):  # The browser left.
        await _follow(request, response, look, seconds)
    return response


async def _follow(
    request: web.Request, response: web.StreamResponse, look: Look, seconds: float
) -> None:
    ending, sent = request.app[ENDING], dict[str, str]()
    while not ending.is_set() and _is_admitted(request):
        try:
            found = await look()
        except UnavailableError as error:
            await _send(response, "away", str(error))
        else:
            fresh = {name: html for name, html in found.items() if html != sent.get(name)}
            sent |= fresh
            await _send(response, "fragments", fresh)
        with contextlib.suppress(TimeoutError):  # The usual case: nothing ends.
            await asyncio.wait_for(ending.wait(), seconds)


def _is_admitted(request: web.Request) -> bool:
    """Whether the browser's session still is; a key shown by a header was looked at once."""
    return SESSION not in request or (
        request.app[SESSIONS].find(request.cookies.get(COOKIE, "")) is not None
    )


async def _send(response: web.StreamResponse, event: str, data: object) -> None:
    body = orjson.dumps(data)
    await response.write(b"event: " + event.encode() + b"\ndata: " + body + b"\n\n")
